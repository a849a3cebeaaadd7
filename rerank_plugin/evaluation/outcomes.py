"""What each pipeline answered to each query, reduced to what is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rerank_plugin.collections.runs import document_key, scores_by_rank
from rerank_plugin.evaluation.candidates import ScoredCandidates

if TYPE_CHECKING:
    from haystack import Document

COMPLETE = "complete"
FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """
    The answer of a pipeline to a query.

    :param query: Id of the query.
    :param documents: The collection's ids, best first; of several passages of one document the best counts.
    :param scores: Strictly falling (see `scores_by_rank`).
    :param first_ranks: The place of each among the candidates, from 1; empty where there is no second stage.
    :param milliseconds: Time of each component; without the ranker's where pipelines shared its work.
    :param pairs: Pairs of query and passage that the second stage scored.
    :param state: `complete`, `failed`, or what the ranker says (`partial`, `fallback`).
    :param error: Why it failed.
    :param candidates: The candidates with the scores of both stages, where the second stage scores each of them by itself.
    """

    query: str
    documents: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    first_ranks: list[int] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    pairs: int = 0
    state: str = COMPLETE
    error: str | None = None
    candidates: ScoredCandidates | None = None

    @property
    def ranking(self) -> dict[str, float]:
        """Scores by document, as a run has them."""
        return dict(zip(self.documents, self.scores, strict=True))

    @property
    def has_failed(self) -> bool:
        """Whether there is no answer."""
        return self.state == FAILED

    def as_json(self) -> dict[str, Any]:
        """Return plain values, from which `from_json` makes the same outcome."""
        plain = asdict(replace(self, candidates=None))
        return {**plain, "candidates": None if self.candidates is None else self.candidates.as_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Outcome":
        """
        Return the outcome that `as_json` wrote.

        :raises ValueError, TypeError, KeyError: If it is none.
        """
        candidates = data["candidates"]
        return cls(**{**data, "candidates": None if candidates is None else ScoredCandidates.from_json(candidates)})


def make_outcome(
    query: str,
    documents: "Sequence[Document]",
    first_ranks: Mapping[str, int] | None,
    *,
    milliseconds: Mapping[str, float],
    pairs: int = 0,
    state: str = COMPLETE,
    candidates: ScoredCandidates | None = None,
) -> Outcome:
    """
    Keep of an answer what is measured.

    :param query: Id of the query.
    :param documents: Best first.
    :param first_ranks: For each document (by its own id) its place among the candidates; `None`: no second stage.
    :param milliseconds: Time of each component.
    :param pairs: Pairs that were scored.
    :param state: How the answer came about.
    :param candidates: See `Outcome`.
    """
    scores = scores_by_rank(documents)
    firsts: dict[str, int] = {}
    for document in documents if first_ranks is not None else []:
        firsts.setdefault(document_key(document), (first_ranks or {})[document.id])
    times = {name: round(value, 3) for name, value in milliseconds.items()}
    return Outcome(query, list(scores), list(scores.values()), list(firsts.values()), times, pairs, state, None, candidates)
