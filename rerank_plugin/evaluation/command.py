"""`rerank eval` from its options to its result; the report is written elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.collections.runs import Run, Runs
from rerank_plugin.collections.trec import Qrels, read_qrels, read_run
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.collection import Collection, by_language, count_languages, open_collection
from rerank_plugin.evaluation.comparison import Comparison, compare_evaluations
from rerank_plugin.evaluation.costs import Latency, latencies, pairs_scored
from rerank_plugin.evaluation.curves import DepthCurve, depth_curves
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.indexes import kept_index
from rerank_plugin.evaluation.measures import DEFAULT_MEASURES, Evaluation, evaluate, parse_measures
from rerank_plugin.evaluation.outcomes import Outcome
from rerank_plugin.evaluation.stages import StagedPipeline, take_apart
from rerank_plugin.pipelines import read_pipeline

DEFAULT_PIPELINES = ("bm25", "bm25_rerank")
DEFAULT_LANGUAGE = "en"
ANSWERS = "answers"

Announce = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EvalRequest:
    """
    What shall be evaluated.

    :param dataset: Folder in BEIR layout or `irds:ID`; `None`: only runs, against `qrels`.
    :param pipelines: Names or YAML files.
    :param runs: Files of runs, by the name that they shall have.
    :param qrels: A file with judgements, instead of those of the collection.
    :param index: Folder of an index; `None`: one is made for each language, and kept.
    :param split: Which judgements of the collection.
    :param lang: See `Collection.judged`.
    :param language: Language of the keyword index; `None`: the `lang` of the queries, else English.
    :param limit: Most queries.
    :param candidates: Depth of the first stage, and length of the rankings.
    :param measures: Names as ir-measures writes them; the first is the one that is plotted.
    :param baseline: The system that all others are compared with; `None`: the first, and of two stages also their own first.
    :param embedding_model: Instead of the pipelines' own.
    :param output: Folder for answers and report; `None`: nothing is kept.
    """

    dataset: str | None
    pipelines: Sequence[str] = DEFAULT_PIPELINES
    runs: Mapping[str, Path] = field(default_factory=dict)
    qrels: Path | None = None
    index: Path | None = None
    split: str = "test"
    lang: str | None = None
    language: str | None = None
    limit: int | None = None
    candidates: int = 100
    measures: Sequence[str] = DEFAULT_MEASURES
    baseline: str | None = None
    embedding_model: str | None = None
    output: Path | None = None


@dataclass(frozen=True)
class EvalResult:
    """
    What came out.

    :param title: Collection, split and number of queries.
    :param facts: How it was measured, for people.
    :param collection: The collection; `None` where only runs were measured.
    :param queries: Texts by id, of the queries that count.
    :param qrels: Their judgements.
    :param comparison: Measures of every system, and differences.
    :param runs: The rankings of every system.
    :param outcomes: The answers of the pipelines.
    :param latencies: Times of stages.
    :param pairs: Pairs scored for a query, by pipeline.
    :param curves: Quality by depth.
    """

    title: str
    facts: dict[str, Any]
    collection: Collection | None
    queries: dict[str, str]
    qrels: Qrels
    comparison: Comparison
    runs: dict[str, Runs]
    outcomes: dict[str, list[Outcome]]
    latencies: list[Latency]
    pairs: dict[str, float]
    curves: list[DepthCurve]

    @property
    def measure(self) -> str:
        """The measure that counts most: the first that was asked for."""
        return next(iter(next(iter(self.evaluations.values())).per_query))

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """Measures of every system."""
        return self.comparison.evaluations

    @property
    def failures(self) -> list[tuple[str, Outcome]]:
        """Name of the pipeline and outcome, for each query that failed."""
        return [(name, answer) for name, answers in self.outcomes.items() for answer in answers if answer.has_failed]


def run_evaluation(request: EvalRequest, *, announce: Announce | None = None) -> EvalResult:
    """
    Evaluate.

    :param request: What.
    :param announce: Called with what is being done, how far it is, and how much there is.
    :returns: The result.
    :raises InputFileError: If a file is missing or malformed.
    :raises InvalidValueError: If there is nothing to evaluate, or names are unknown or used twice.
    :raises PipelineConfigError: If a pipeline cannot be loaded.
    """
    parse_measures(request.measures)
    staged = [fit_to_index(source, None, request) for source in request.pipelines] if request.dataset else []
    first_stages = {pipeline.name: pipeline for pipeline in staged}
    names = [*first_stages, *request.runs]
    if not names:
        raise InvalidValueError("nothing to evaluate: name a collection, or runs (--run) and judgements (--qrels)")
    if len(set(names)) < len(staged) + len(request.runs):
        raise InvalidValueError(f"two systems have one name, of {names}: give the files different names")
    if request.baseline is not None and request.baseline not in names:
        raise InvalidValueError(f"unknown baseline {request.baseline!r}: choose one of {names}")
    external: dict[str, Run] = {name: read_run(file) for name, file in request.runs.items()}
    collection: Collection | None = None
    queries: dict[str, BeirQuery] = {}
    outcomes: dict[str, list[Outcome]] = {}
    if request.dataset is None:
        if request.qrels is None:
            raise InvalidValueError("runs are measured against judgements: name the file with --qrels")
        qrels = read_qrels(request.qrels)
    else:
        collection = open_collection(request.dataset, split=request.split, qrels_file=request.qrels)
        queries, qrels = collection.judged(lang=request.lang, limit=request.limit)
        outcomes = _answer(request, collection, queries, staged, announce or (lambda _what, _done, _total: None))
    runs: dict[str, Runs] = {
        name: {answer.query: answer.ranking for answer in answers} for name, answers in outcomes.items()
    }
    runs.update(external)
    evaluations = {name: evaluate(run, qrels, request.measures) for name, run in runs.items()}
    comparison = compare_evaluations(evaluations, _pairs(names, first_stages, request.baseline))
    counted = next(iter(evaluations.values()))
    measure = next(iter(counted.per_query))
    languages = {str(query.metadata["lang"]) for query in queries.values() if "lang" in query.metadata}
    return EvalResult(
        title=_title(request, collection, len(counted.queries), languages),
        facts=_facts(request, collection, counted, languages),
        collection=collection,
        queries={id_: queries[id_].text if id_ in queries else "" for id_ in counted.queries},
        qrels=qrels,
        comparison=comparison,
        runs=runs,
        outcomes=outcomes,
        latencies=latencies(outcomes),
        pairs=pairs_scored(outcomes),
        curves=depth_curves(outcomes, qrels, measure=measure, candidates=request.candidates),
    )


def _answer(
    request: EvalRequest,
    collection: Collection,
    queries: Mapping[str, BeirQuery],
    staged: Sequence[StagedPipeline],
    announce: Announce,
) -> dict[str, list[Outcome]]:
    folder = None if request.output is None else request.output / ANSWERS
    experiment = Experiment(ExperimentSettings(request.candidates, folder))
    outcomes: dict[str, list[Outcome]] = {pipeline.name: [] for pipeline in staged}
    for group in indexed_groups(request, collection, queries, staged, announce):
        fitted = [fit_to_index(source, group.index, request) for source in request.pipelines]
        found = experiment.run(fitted, group.queries, progress=partial(announce, f"Answering ({group.language})"))
        for name, answers in found.items():
            outcomes[name] += answers
    return outcomes


@dataclass(frozen=True)
class IndexedGroup:
    """
    Queries that are searched in one index.

    :param language: Of the keyword index.
    :param index: Folder of the index.
    :param queries: Texts by id.
    """

    language: str
    index: Path
    queries: dict[str, str]


def indexed_groups(
    request: EvalRequest,
    collection: Collection,
    queries: Mapping[str, BeirQuery],
    staged: Sequence[StagedPipeline],
    announce: Announce,
) -> Iterator[IndexedGroup]:
    """
    Group queries by language, and have an index for each, of the documents in that language.

    :param request: Which index, if not the kept one, and which language, if not that of the queries.
    :param collection: The collection.
    :param queries: Its queries by id.
    :param staged: The pipelines that will search.
    :param announce: Called with progress.
    """
    groups = {None: dict(queries)} if request.index else by_language(queries)
    for lang, members in groups.items():
        language = request.language or lang or DEFAULT_LANGUAGE
        index = request.index or kept_index(
            collection,
            language=language,
            pipelines=staged,
            lang=lang,
            embedding_model=request.embedding_model,
            progress=partial(announce, f"Indexing ({language})"),
        )
        yield IndexedGroup(language, index, {id_: query.text for id_, query in members.items()})


def fit_to_index(source: str, index: Path | None, request: EvalRequest) -> StagedPipeline:
    """Read a pipeline for an index (`None`: to see what it is made of, before there is one), and take it apart."""
    return take_apart(_name(source), read_pipeline(source, index=index, embedding_model=request.embedding_model))


def _name(source: str) -> str:
    return Path(source).stem if source.endswith((".yaml", ".yml")) else source


def _pairs(names: Sequence[str], staged: Mapping[str, StagedPipeline], baseline: str | None) -> list[tuple[str, str]]:
    """What is compared: all with the baseline; unless one was chosen, also each second stage with its own first stage."""
    first = names[0] if baseline is None else baseline
    pairs = [(first, name) for name in names if name != first]
    if baseline is None:
        alone = {pipeline.first_key: name for name, pipeline in staged.items() if pipeline.ranker is None}
        own = [(alone[p.first_key], name) for name, p in staged.items() if p.ranker is not None and p.first_key in alone]
        pairs += [pair for pair in own if pair not in pairs]
    return pairs


def _title(request: EvalRequest, collection: Collection | None, queries: int, languages: set[str]) -> str:
    if collection is None:
        return f"{request.qrels}: {queries} queries"
    judgements = request.qrels.name if request.qrels else collection.split
    lang = f", {', '.join(sorted(languages))}" if languages else ""
    return f"{collection.name}, {judgements}{lang}: {queries} queries, {request.candidates} candidates"


def _facts(
    request: EvalRequest, collection: Collection | None, evaluation: Evaluation, languages: set[str]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "queries": len(evaluation.queries),
        "left out: judged, but without a relevant document": len(evaluation.without_relevant),
    }
    if collection is not None:
        facts["candidates of the first stage"] = request.candidates
        if languages and request.index is None:
            facts["searched: only documents in"] = ", ".join(sorted(languages))
        counts = count_languages(collection) if languages else {}
        facts |= {f"left out: in the language {lang}": n for lang, n in counts.items() if lang not in languages}
    return facts
