"""Plan an evaluation: files are read and checked before a model is loaded."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.collections.beir import BeirQuery
from rerank_plugin.collections.runs import Run
from rerank_plugin.collections.trec import Qrels, read_qrels, read_run
from rerank_plugin.errors import InputFileError, InvalidValueError
from rerank_plugin.evaluation.collection import ALL, Collection, by_language, open_collection
from rerank_plugin.evaluation.indexes import kept_index
from rerank_plugin.evaluation.request import EvalRequest, check_request, pipeline_name
from rerank_plugin.evaluation.stages import StagedPipeline, split_stages
from rerank_plugin.pipelines import read_pipeline
from rerank_plugin.progress import ProgressCallback, counts_of

DEFAULT_LANGUAGE = "en"


@dataclass(frozen=True)
class EvaluationPlan:
    """
    The inputs of an evaluation, read and checked.

    :param request: The request.
    :param pipelines: The pipelines, not yet fitted to an index.
    :param runs: Runs given as files, by name.
    :param collection: The collection; `None`: only runs are evaluated.
    :param queries: Its judged queries by id; empty without a collection.
    :param qrels: The judgements.
    """

    request: EvalRequest
    pipelines: list[StagedPipeline]
    runs: dict[str, Run]
    collection: Collection | None
    queries: dict[str, BeirQuery]
    qrels: Qrels


@dataclass(frozen=True)
class IndexedGroup:
    """
    Queries that are searched in the same index.

    :param language: Language of the keyword index.
    :param index: Folder of the index; `None`: the pipelines search other document stores, as their YAML says.
    :param queries: Texts by id.
    """

    language: str
    index: Path | None
    queries: dict[str, str]


def plan_evaluation(request: EvalRequest) -> EvaluationPlan:
    """
    Read and check the inputs of a request. Nothing is indexed, loaded or written.

    :param request: The request.
    :returns: The plan.
    :raises InvalidValueError: If there is nothing to evaluate, a name or number is invalid, or judgements, queries, runs and
        corpus do not belong together.
    :raises InputFileError: If a file is missing or malformed.
    :raises PipelineConfigError: If a pipeline does not exist or cannot be read.
    """
    check_request(request)
    pipelines = [fit_to_index(source, None, request) for source in request.pipelines] if request.dataset else []
    runs = {name: read_run(file) for name, file in request.runs.items()}
    collection: Collection | None = None
    queries: dict[str, BeirQuery] = {}
    if request.dataset is not None:
        collection = open_collection(request.dataset, split=request.split, qrels_file=request.qrels)
        queries, qrels = collection.judged(lang=request.language, limit=request.limit)
        is_searched_elsewhere = bool(pipelines) and not any(staged.searches_an_index for staged in pipelines)
        check_relevant(collection, qrels, has_index=request.index is not None or is_searched_elsewhere)
    elif request.qrels is not None:
        qrels = read_qrels(request.qrels)
    else:
        raise InvalidValueError("runs are evaluated against judgements: pass the file with --qrels")
    for name, run in runs.items():
        if not run.keys() & qrels.keys():
            raise InvalidValueError(
                f"run {name!r} ({request.runs[name]}) answers none of the {len(qrels)} judged queries, but queries such as "
                f"{next(iter(run))!r}: check that it belongs to these judgements"
            )
    return EvaluationPlan(request, pipelines, runs, collection, queries, qrels)


def check_relevant(collection: Collection, qrels: Qrels, *, has_index: bool) -> None:
    """
    Check that the corpus has any relevant document.

    :param collection: The collection.
    :param qrels: The judgements of the queries.
    :param has_index: Whether there already is an index; the collection may then lack its corpus.
    :raises InvalidValueError: If no document is judged relevant, or no relevant document is in the corpus.
    :raises InputFileError: If the corpus cannot be read.
    """
    relevant = {id_ for grades in qrels.values() for id_, grade in grades.items() if grade > 0}
    if not relevant:
        raise InvalidValueError(
            f"none of {len(qrels)} judged queries of {collection.name} has a relevant document: nothing can be measured"
        )
    try:
        documents = collection.dataset.documents()
    except InputFileError:
        if has_index:
            return
        raise
    if not any(document.id in relevant for document in documents):
        raise InvalidValueError(
            f"none of the {len(relevant)} documents that are judged relevant, such as {min(relevant)!r}, is in "
            f"{collection.dataset.place}: check that corpus and judgements belong together"
        )


def fit_to_index(source: str, index: Path | None, request: EvalRequest) -> StagedPipeline:
    """Read a pipeline for an index (`None`: to inspect it before there is one, or it has none), and split it into stages."""
    data = read_pipeline(source, index=index, embedding_model=request.embedding_model)
    return split_stages(pipeline_name(source), data)


def indexed_groups(
    request: EvalRequest,
    collection: Collection,
    queries: Mapping[str, BeirQuery],
    pipelines: Sequence[StagedPipeline],
    on_progress: ProgressCallback | None,
) -> Iterator[IndexedGroup]:
    """
    Group queries by language, with an index of the documents in that language for each group.

    Document stores other than an index of `rerank index` are searched as they are: they have to hold the collection.

    :param request: May name an index to use instead of the kept one (or of the collection, if it is an index), and a
        language for queries without one.
    :param collection: The collection.
    :param queries: Its queries by id.
    :param pipelines: The pipelines that will search.
    :param on_progress: Called while an index is built.
    """
    searched = request.index or collection.index
    groups = {None: dict(queries)} if searched else by_language(queries)
    indexed = [staged for staged in pipelines if staged.searches_an_index]
    asked = None if request.language == ALL else request.language
    for lang, members in groups.items():
        language = lang or asked or DEFAULT_LANGUAGE
        index = searched
        if index is None and indexed:
            index = kept_index(
                collection,
                language=language,
                pipelines=indexed,
                lang=lang,
                embedding_model=request.embedding_model,
                on_progress=counts_of(on_progress, f"Indexing ({language})"),
            )
        yield IndexedGroup(language, index, texts_of(members.values()))


def single_group(
    request: EvalRequest,
    collection: Collection,
    queries: Mapping[str, BeirQuery],
    pipelines: Sequence[StagedPipeline],
    on_progress: ProgressCallback | None,
) -> IndexedGroup:
    """
    Return the one group of `indexed_groups`, for what is fitted on a single index.

    :param request: See `indexed_groups`.
    :param collection: See `indexed_groups`.
    :param queries: See `indexed_groups`.
    :param pipelines: See `indexed_groups`.
    :param on_progress: See `indexed_groups`.
    :raises InvalidValueError: If the queries are in several languages, and no index was given.
    """
    languages = {query.metadata.get("lang") for query in queries.values()}
    if len(languages) > 1 and request.index is None and collection.index is None:
        raise InvalidValueError(
            f"the queries are in several languages, {sorted(map(str, languages))}: choose one with --language"
        )
    (group,) = indexed_groups(request, collection, queries, pipelines, on_progress)
    return group


def texts_of(queries: Iterable[BeirQuery]) -> dict[str, str]:
    """Return the texts of queries by their ids."""
    return {query.id: query.text for query in queries}
