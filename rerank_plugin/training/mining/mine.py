"""Mine a collection: search for each judged query, sample its negatives, and stream the pairs to a file."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rerank_plugin.collections.beir import BeirDocument, BeirQuery
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import ALL, Collection
from rerank_plugin.evaluation.run_key import run_key
from rerank_plugin.progress import CountCallback
from rerank_plugin.training.fingerprints import fingerprint_model
from rerank_plugin.training.mining.draw import MiningCounts, Negative, draw_negatives
from rerank_plugin.training.mining.first_stage import Finder
from rerank_plugin.training.mining.rules import MiningRules
from rerank_plugin.training.mining.state import MiningState

PAIRS, TRIPLES = "pairs", "triples"
FORMATS = (PAIRS, TRIPLES)
VERSION = 2  # of sampling and file format; part of the key of a mined file


Rescore = Callable[[str, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class MiningJob:
    """
    A collection to mine, with the rules and the output file.

    :param collection: Documents, queries and judgements.
    :param output: The file, JSON Lines.
    :param rules: How negatives are sampled.
    :param first_stage: Key of the first stage, see `FirstStageSpec.key`.
    :param guard_model: The model whose scores the margin applies to; `None`: the first stage's scores.
    :param limit: Maximum number of queries, in file order; `None`: all.
    :param form: `pairs` (a line per labelled pair) or `triples` (a line per positive, with its negatives).
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
            raise InvalidValueError("a guard model needs a margin: set relative_margin or absolute_margin")

    def settings(self) -> dict[str, Any]:
        """Return everything that the content of the file depends on, including the content of collection and models."""
        return {
            "version": VERSION,
            **self.collection.fingerprints(),
            "split": self.collection.split,
            "first_stage": self.first_stage,
            "guard_model": self.guard_model and f"{self.guard_model} {fingerprint_model(self.guard_model)[:12]}",
            "limit": self.limit,
            "format": self.form,
            "rules": self.rules.as_dict(),
        }

    def key(self) -> str:
        """Return a hash of the settings: jobs with the same key write the same file."""
        settings = self.settings()
        models = {"first_stage": settings.pop("first_stage"), "guard": settings.pop("guard_model")}
        corpus = ":".join(settings.pop(name) for name in ("corpus", "queries", "judgements"))
        return run_key(settings=settings, query=None, models=models, corpus=corpus)

    def into(self, output: Path) -> "MiningJob":
        """Return the same job with another output file."""
        return replace(self, output=output)


def mine(
    job: MiningJob,
    open_first_stage: Callable[[], Finder],
    *,
    rescore: Rescore | None = None,
    on_progress: CountCallback | None = None,
) -> MiningCounts:
    """
    Mine negatives for the judged queries of a collection.

    Beside the file is `OUTPUT.state.json`, with which an interrupted run resumes, and a finished one is not repeated.

    :param job: The job.
    :param open_first_stage: Opens the first stage; called once, if there are queries left.
    :param rescore: Scores passages for a query, for the margin; `None`: the first stage's scores are used.
    :param on_progress: Called with queries done and total queries.
    :returns: Counts of the whole run, including the part before it was resumed.
    :raises InputFileError: If the collection is malformed, or has no query with a relevant document in its corpus.
    :raises InvalidValueError: If the file exists and was not written with these settings, or its state is damaged.
    """
    corpus = {document.id: document for document in job.collection.dataset.documents()}
    queries, qrels = job.collection.judged(lang=ALL, limit=None)
    answered = [query for id_, query in queries.items() if query.text.strip() and _relevant(qrels, id_, corpus)]
    answered = answered[: job.limit]
    if not answered:
        raise InputFileError(
            f"{job.collection.name}: no query of split {job.collection.split!r} has a relevant document in the corpus"
        )
    state = MiningState(job.output, job.settings())
    counts, done = state.resume()
    waiting = [query for query in answered if query.id not in done]
    if waiting:
        first_stage, ids = open_first_stage(), list(corpus)
        with job.output.open("a", encoding="utf-8") as file:
            for number, query in enumerate(waiting, start=len(done) + 1):
                relevant = _relevant(qrels, query.id, corpus)
                ranked = first_stage.find(query, job.rules.depth)
                scores = _rescored(rescore, query, relevant, ranked, corpus) if rescore else dict(ranked)
                negatives = draw_negatives(query, relevant, ranked, scores, corpus, ids, job.rules, counts)
                counts.queries, counts.positives = counts.queries + 1, counts.positives + len(relevant)
                file.write(_lines(job.form, query, relevant, negatives, corpus))
                file.flush()
                state.record(query.id, file.tell(), counts)
                if on_progress:
                    on_progress(number, len(answered))
    state.finish(counts)
    return counts


def _relevant(qrels: Qrels, query: str, corpus: Mapping[str, BeirDocument]) -> list[str]:
    return [id_ for id_, grade in qrels[query].items() if grade > 0 and id_ in corpus and corpus[id_].full_text.strip()]


def _rescored(
    rescore: Rescore,
    query: BeirQuery,
    relevant: Sequence[str],
    ranked: Iterable[tuple[str, float]],
    corpus: Mapping[str, BeirDocument],
) -> dict[str, float]:
    ids = list(dict.fromkeys([*relevant, *(id_ for id_, _ in ranked if id_ in corpus)]))
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
        # Dealt in turn: negatives are in the order of the windows, so each positive gets its share of every window.
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
