"""What each pipeline answered to each query, kept on disk as it comes, so that an interrupted evaluation goes on."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.collections.runs import document_key, scores_by_rank
from rerank_plugin.errors import InputFileError

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
    """

    query: str
    documents: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    first_ranks: list[int] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    pairs: int = 0
    state: str = COMPLETE
    error: str | None = None

    @property
    def ranking(self) -> dict[str, float]:
        """Scores by document, as a run has them."""
        return dict(zip(self.documents, self.scores, strict=True))

    @property
    def has_failed(self) -> bool:
        """Whether there is no answer."""
        return self.state == FAILED


def make_outcome(
    query: str,
    documents: "Iterable[Document]",
    first_ranks: Mapping[str, int] | None,
    *,
    milliseconds: dict[str, float],
    pairs: int = 0,
    state: str = COMPLETE,
) -> Outcome:
    """
    Keep of an answer what is measured.

    :param query: Id of the query.
    :param documents: Best first.
    :param first_ranks: For each document (by its own id) its place among the candidates; `None`: no second stage.
    :param milliseconds: Time of each component.
    :param pairs: Pairs that were scored.
    :param state: How the answer came about.
    """
    found = list(documents)
    scores = scores_by_rank(found)
    firsts: dict[str, int] = {}
    for document in found if first_ranks is not None else []:
        firsts.setdefault(document_key(document), (first_ranks or {})[document.id])
    times = {name: round(value, 3) for name, value in milliseconds.items()}
    return Outcome(query, list(scores), list(scores.values()), list(firsts.values()), times, pairs, state)


class OutcomeFile:
    """
    The outcomes of one pipeline: a line for each query, added as soon as it is there.

    A line says which settings it was made with; lines of other settings, of failed queries, and one that a kill has cut are
    passed over, and their queries run again.

    :param path: The file; `None` keeps outcomes in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lines: dict[tuple[str, str], Outcome] = {}
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputFileError(f"{path} cannot be read: {error.strerror}") from error
        for line in text.splitlines():
            try:
                record: dict[str, Any] = json.loads(line)
                key = record.pop("settings")
                outcome = Outcome(**record)
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
            self._lines[key, outcome.query] = outcome
        if text and not text.endswith("\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")  # what a kill has cut ends here

    def get(self, settings: str, query: str) -> Outcome | None:
        """Return the outcome of a query with these settings, if it is there and has not failed."""
        outcome = self._lines.get((settings, query))
        return None if outcome is None or outcome.has_failed else outcome

    def latest(self, settings: str, query: str) -> Outcome:
        """Return the outcome of a query with these settings, also a failed one, which must be there."""
        return self._lines[settings, query]

    def add(self, settings: str, outcome: Outcome) -> None:
        """
        Add an outcome.

        :raises InputFileError: If the file cannot be written.
        """
        self._lines[settings, outcome.query] = outcome
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"settings": settings, **asdict(outcome)}, ensure_ascii=False) + "\n")
        except OSError as error:
            raise InputFileError(f"{self._path} cannot be written: {error.strerror}") from error
