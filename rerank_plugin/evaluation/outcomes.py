"""The answer of each pipeline to each query, reduced to what is evaluated."""

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
    :param documents: The collection's ids, best first; of several passages of a document the best counts.
    :param scores: Strictly decreasing (see `scores_by_rank`).
    :param first_ranks: First-stage rank of each document, from 1 (0: unknown); empty without a second stage.
    :param milliseconds: Time of each component; without the ranker's if pipelines shared its work.
    :param pairs: Query-passage pairs that the second stage scored.
    :param state: `complete`, `failed`, or the ranker's state (`partial`, `fallback`).
    :param error: Why it failed.
    :param candidates: The candidates with the scores of both stages, if the second stage scores each of them independently.
    :param second_stage: The component in `milliseconds` that is the second stage; empty without one.
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
    second_stage: str = ""

    @property
    def ranking(self) -> dict[str, float]:
        """Scores by document, as in a run."""
        return dict(zip(self.documents, self.scores, strict=True))

    @property
    def has_failed(self) -> bool:
        """Whether there is no answer."""
        return self.state == FAILED

    def as_json(self) -> dict[str, Any]:
        """Return plain values that `from_json` reads back."""
        plain = asdict(replace(self, candidates=None))
        return {**plain, "candidates": None if self.candidates is None else self.candidates.as_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Outcome":
        """
        Build an outcome from the output of `as_json`.

        :raises ValueError, TypeError, KeyError: If the data is not an outcome.
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
    second_stage: str = "",
) -> Outcome:
    """
    Reduce an answer to what is evaluated.

    :param query: Id of the query.
    :param documents: The documents, best first.
    :param first_ranks: First-stage rank of each passage, by passage id; `None`: no second stage.
    :param milliseconds: Time of each component.
    :param pairs: Pairs scored.
    :param state: State of the answer.
    :param candidates: See `Outcome`.
    :param second_stage: See `Outcome`.
    """
    scores = scores_by_rank(documents)
    firsts: dict[str, int] = {}
    for document in documents if first_ranks is not None else []:
        # A ranker may return documents that it changed, so that they have other ids: they have no first rank.
        firsts.setdefault(document_key(document), (first_ranks or {}).get(document.id, 0))
    times = {name: round(value, 3) for name, value in milliseconds.items()}
    return Outcome(
        query=query,
        documents=list(scores),
        scores=list(scores.values()),
        first_ranks=list(firsts.values()),
        milliseconds=times,
        pairs=pairs,
        state=state,
        candidates=candidates,
        second_stage=second_stage,
    )
