"""What is done with the rows of a block: ranking them, mining negatives for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rerank_plugin.checks import shown
from rerank_plugin.errors import InputFileError
from rerank_plugin.scale.blocks import Row
from rerank_plugin.scale.job import write_rows

if TYPE_CHECKING:
    from rerank_plugin.components.ranker import CrossEncoderRanker

# Pairs of a row are ranked together with those of others, up to so many rows.
ROWS_AT_ONCE = 256
DIGITS = 6
TEXTS = ("text", "passage", "document")


class Task(Protocol):
    """A task, as plain settings, so that it can be sent to another machine."""

    @property
    def suffix(self) -> str:
        """The suffix of the file of a block that is done."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return everything that the result of a row depends on."""
        ...

    def open(self) -> Callable[[Sequence[Row], str], Any]:
        """
        Load what is needed, once in each process.

        :returns: Does the task for the rows of a block; is also given the place of the block, for messages.
        """
        ...

    def write(self, part: Path, result: Any) -> None:
        """
        Write the result of a block, whole or not at all.

        :param part: Its file.
        :param result: The result.
        """
        ...


class RowTask:
    """A task that makes rows of rows."""

    suffix = ".jsonl"

    def write(self, part: Path, result: Sequence[Row]) -> None:
        """Write rows as JSON Lines. See `Task.write`."""
        write_rows(part, result)


@dataclass(frozen=True)
class RankTask(RowTask):
    """
    Scores texts for queries: rows with `query` and `documents` get `results`, rows with `query` and `text` get `score`.

    :param model: A bundled name, a folder, or a Hub id.
    :param threads: Threads of the model; `None`: one for each processor.
    :param precision: See `CrossEncoderRanker`.
    :param backend: See `CrossEncoderRanker`.
    """

    model: str
    threads: int | None = None
    precision: str = "auto"
    backend: str = "auto"

    def settings(self) -> dict[str, Any]:
        """Return model, by its content, precision and backend."""
        from rerank_plugin.training.fingerprints import fingerprint_model

        return {
            "task": "rank",
            "model": fingerprint_model(self.model),
            "precision": self.precision,
            "backend": self.backend,
        }

    def open(self) -> Callable[[Sequence[Row], str], list[Row]]:
        """Load the model. See `Task.open`."""
        from rerank_plugin.components.ranker import CrossEncoderRanker

        ranker = CrossEncoderRanker(
            model=self.model, num_threads=self.threads, precision=self.precision, backend=self.backend
        )
        ranker.warm_up()

        def rank(rows: Sequence[Row], place: str) -> list[Row]:
            done: list[Row] = []
            for start in range(0, len(rows), ROWS_AT_ONCE):
                done += _ranked(ranker, rows[start : start + ROWS_AT_ONCE], f"{place}, row {start + 1} or after")
            return done

        return rank


def _ranked(ranker: "CrossEncoderRanker", rows: Sequence[Row], place: str) -> list[Row]:
    from haystack import Document

    texts = [_texts(row, place) for row in rows]
    # The ranker orders equal scores by id: by these ids, that is the order of the row.
    documents = [[Document(id=f"{n:09d}", content=text) for n, text in enumerate(of_row)] for of_row in texts]
    queries = [_text(row, "query", place) for row in rows]
    most = max(map(len, documents), default=1) or 1
    answers = ranker.rank_many(queries, documents, top_k=most)
    done = []
    for row, answer in zip(rows, answers, strict=True):
        scores = [(int(document.id), round(document.score or 0.0, DIGITS)) for document in answer["documents"]]
        if "documents" not in row:
            done.append({**row, "score": scores[0][1]})
            continue
        ids = [document.get("id") if isinstance(document, dict) else None for document in row["documents"]]
        results = [
            {"index": index, **({} if ids[index] is None else {"id": ids[index]}), "score": score} for index, score in scores
        ]
        done.append({**{name: value for name, value in row.items() if name != "documents"}, "results": results})
    return done


def _texts(row: Row, place: str) -> list[str]:
    if "documents" not in row:
        name = next((name for name in TEXTS if name in row), TEXTS[0])
        return [_text(row, name, place)]
    if not isinstance(row["documents"], list):
        raise InputFileError(f"{place}: documents must be a list of texts, got {shown(row['documents'])}")
    return [
        _text(document, "text", place) if isinstance(document, dict) else _text({"documents": document}, "documents", place)
        for document in row["documents"]
    ]


def _text(row: Row, name: str, place: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise InputFileError(f"{place}: {name} must be a text, got {shown(value)}")
    return value


@dataclass(frozen=True)
class MineTask(RowTask):
    """
    Finds hard negatives: rows with `query` and `positives` get `negatives`, documents of an index that rank high for the
    query and are no positives, chosen by the rules of `rerank mine`.

    :param index: Folder of the index.
    :param pipeline: Name or YAML file of the pipeline that searches.
    :param rules: How negatives are sampled, see `MiningRules`; random ones only come from an index as a whole, so none do.
    """

    index: Path
    pipeline: str = "bm25"
    rules: dict[str, Any] = field(default_factory=dict, hash=False)

    def settings(self) -> dict[str, Any]:
        """Return the index, by its content, the pipeline and the rules."""
        from rerank_plugin.training.mining.first_stage import FirstStageSpec

        spec = FirstStageSpec(self.pipeline, index=self.index)
        return {"task": "mine", "first_stage": spec.key(), "rules": self.rules}

    def open(self) -> Callable[[Sequence[Row], str], list[Row]]:
        """Open the index. See `Task.open`."""
        from rerank_plugin.scale.mining import NegativeFinder

        finder = NegativeFinder(self.index, self.pipeline, self.rules)
        return finder.find
