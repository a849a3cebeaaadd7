"""Mine a collection: search for each judged query, draw its negatives, and stream the pairs to a file."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import ALL, Collection
from rerank_plugin.files import replace_file
from rerank_plugin.training.mining.draw import MiningCounts, Negative, draw_negatives
from rerank_plugin.training.mining.rules import MiningRules

PAIRS, TRIPLES = "pairs", "triples"
FORMATS = (PAIRS, TRIPLES)
VERSION = 1


class Finder(Protocol):
    """What searches the collection; see `first_stage.FirstStage`."""

    def find(self, query: BeirQuery, depth: int) -> list[tuple[str, float]]:
        """Return ids and scores, best first."""


Rescore = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class MiningJob:
    """
    What shall be mined, and into which file.

    :param collection: Documents, queries and judgements.
    :param output: The file, JSON Lines.
    :param rules: Which negatives.
    :param first_stage: How the pipeline is called; part of what makes two runs the same.
    :param guard_model: How the model is called whose scores the margin goes by; `None`: the first stage's own scores.
    :param limit: Most queries, in file order; `None`: all.
    :param form: `pairs` (a line for each labelled pair) or `triples` (a line for each positive, with its negatives).
    """

    collection: Collection
    output: Path
    rules: MiningRules = field(default_factory=MiningRules)
    first_stage: str = "bm25"
    guard_model: str | None = None
    limit: int | None = None
    form: str = PAIRS

    def __post_init__(self) -> None:
        if self.form not in FORMATS:
            raise InvalidValueError(f"format must be one of {', '.join(FORMATS)}, got {self.form!r}")
        if self.guard_model is not None and not self.rules.has_margin:
            raise InvalidValueError("a guard model needs a margin to guard: set relative_margin or absolute_margin")

    def settings(self) -> dict[str, Any]:
        """Return what decides the content of the file."""
        dataset = self.collection.dataset
        qrels = self.collection.qrels_file or dataset.folder / "qrels" / f"{self.collection.split}.tsv"
        stats = [file.stat() for file in (dataset.corpus_file, dataset.folder / "queries.jsonl", qrels)]
        return {
            "version": VERSION,
            "collection": str(dataset.folder.resolve()),
            "files": hashlib.sha256(repr([(s.st_size, s.st_mtime_ns) for s in stats]).encode()).hexdigest()[:12],
            "split": self.collection.split,
            "first_stage": self.first_stage,
            "guard_model": self.guard_model,
            "limit": self.limit,
            "format": self.form,
            "rules": self.rules.as_dict(),
        }


def mine(
    job: MiningJob,
    open_first_stage: Callable[[], Finder],
    *,
    rescore: Rescore | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MiningCounts:
    """
    Mine. Beside the file stands `OUTPUT.state.json`; with it an interrupted run goes on where it broke off, and a
    finished one is left alone.

    :param job: What.
    :param open_first_stage: Called once, if there is something to do.
    :param rescore: Scores passages for a query, for the margin; `None`: the first stage's scores count.
    :param progress: Called with queries done and queries in all.
    :returns: What happened, earlier starts of the run included.
    :raises InputFileError: If the collection is malformed, or has no query with a relevant document in its corpus.
    :raises InvalidValueError: If the file exists and was not written with these settings.
    """
    corpus = {document.id: document for document in job.collection.dataset.documents()}
    queries, qrels = job.collection.judged(lang=ALL, limit=None)
    wanted = {id_: query for id_, query in queries.items() if query.text.strip() and _relevant(qrels, id_, corpus)}
    wanted = dict(list(wanted.items())[: job.limit])
    if not wanted:
        raise InputFileError(
            f"{job.collection.name}: no query of split {job.collection.split!r} has a relevant document in the corpus"
        )
    state = _State(job)
    counts, done = state.resume()
    todo = [query for id_, query in wanted.items() if id_ not in done]
    if todo:
        first_stage, ids = open_first_stage(), list(corpus)
        with job.output.open("a", encoding="utf-8") as file:
            for number, query in enumerate(todo, start=len(done) + 1):
                relevant = _relevant(qrels, query.id, corpus)
                found = first_stage.find(query, job.rules.depth)
                scores = _rescored(rescore, query, relevant, found, corpus) if rescore else dict(found)
                negatives = draw_negatives(query, relevant, found, scores, corpus, ids, job.rules, counts)
                counts.queries, counts.positives = counts.queries + 1, counts.positives + len(relevant)
                file.write(_lines(job.form, query, relevant, negatives, corpus))
                file.flush()
                state.record(query.id, file.tell(), counts)
                if progress:
                    progress(number, len(wanted))
    state.finish(counts)
    return counts


def _relevant(qrels: Qrels, query: str, corpus: Mapping[str, BeirDocument]) -> list[str]:
    return [id_ for id_, grade in qrels[query].items() if grade > 0 and id_ in corpus and corpus[id_].full_text.strip()]


def _rescored(
    rescore: Rescore,
    query: BeirQuery,
    relevant: Sequence[str],
    found: Iterable[tuple[str, float]],
    corpus: Mapping[str, BeirDocument],
) -> dict[str, float]:
    ids = list(dict.fromkeys([*relevant, *(id_ for id_, _ in found if id_ in corpus)]))
    return dict(zip(ids, rescore(query.text, [corpus[id_].full_text for id_ in ids]), strict=True))


def _lines(
    form: str,
    query: BeirQuery,
    relevant: Sequence[str],
    negatives: Sequence[Negative],
    corpus: Mapping[str, BeirDocument],
) -> str:
    rows: list[dict[str, Any]] = []
    if form == TRIPLES:
        # In turn: the negatives stand in the order of the rules, so each positive gets its share of every window.
        for number, id_ in enumerate(relevant):
            texts = [corpus[negative.id].full_text for negative in negatives[number :: len(relevant)]]
            rows.append({"query": query.text, "positive": corpus[id_].full_text, "negatives": texts})
    else:
        labelled = [(id_, 1.0, None) for id_ in relevant] + [(n.id, 0.0, n.rank) for n in negatives]
        for id_, label, rank in labelled:
            passage = corpus[id_].full_text
            ids = {"query_id": query.id, "passage_id": id_, "rank": rank}
            rows.append({"query": query.text, "passage": passage, "label": label, **ids})
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class _State:
    """How far a run is: in a journal while it runs, a line for each query; in one object with the counts when it is done."""

    def __init__(self, job: MiningJob) -> None:
        self._job = job
        self._file = job.output.with_name(f"{job.output.name}.state.json")
        self._journal = job.output.with_name(f"{job.output.name}.journal")

    def resume(self) -> tuple[MiningCounts, set[str]]:
        """Return the counts so far and the queries that are done; what was written after the last one is cut off."""
        if not self._file.exists():
            if self._job.output.exists():
                raise InvalidValueError(f"{self._job.output} exists, and was not mined: choose another name, or delete it")
            self._journal.unlink(missing_ok=True)
            with replace_file(self._file) as file:
                json.dump({"settings": self._job.settings()}, file, indent=1)
        state = json.loads(self._file.read_text(encoding="utf-8"))
        if state["settings"] != self._job.settings():
            raise InvalidValueError(
                f"{self._job.output} was mined with other settings (see {self._file.name}): choose another name, or "
                "delete both"
            )
        there = self._job.output.stat().st_size if self._job.output.exists() else 0
        if state.get("size", 0) > there:
            state = {}  # the file was deleted, or cut, after it was finished
        done, size, counts = set(state.get("queries", ())), state.get("size", 0), state.get("counts", {})
        for query, size, counts in self._read_journal(there):  # noqa: B007 - the last ones count
            done.add(query)
        if self._job.output.exists():
            with self._job.output.open("r+b") as file:
                file.truncate(size)
        return _counts(counts), done

    def _read_journal(self, there: int) -> list[Any]:
        """
        Read the journal. A line that was cut off, or says more than stands in the file, is removed: the next one is
        written behind it.
        """
        if not self._journal.exists():
            return []
        entries, end = [], 0
        with self._journal.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n") or (entry := json.loads(line))[1] > there:
                    break
                entries.append(entry)
                end += len(line)
            file.truncate(end)
        return entries

    def record(self, query: str, size: int, counts: MiningCounts) -> None:
        """Note that a query is done, and how long the file is then."""
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([query, size, counts.as_dict()], ensure_ascii=False) + "\n")

    def finish(self, counts: MiningCounts) -> None:
        """Put the journal into the state file."""
        if not self._journal.exists():
            return
        _, done = self.resume()
        state = {
            "settings": self._job.settings(),
            "counts": counts.as_dict(),
            "size": self._job.output.stat().st_size,
            "queries": sorted(done),
        }
        with replace_file(self._file) as file:
            json.dump(state, file, indent=1, ensure_ascii=False)
        self._journal.unlink()


def _counts(data: Mapping[str, Any]) -> MiningCounts:
    counts: dict[str, Any] = {name: Counter(value) if isinstance(value, dict) else value for name, value in data.items()}
    return MiningCounts(**counts)
