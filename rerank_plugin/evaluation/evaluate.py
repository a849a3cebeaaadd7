"""Run the queries of a collection through pipelines and measure the rankings with ir-measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rerank_plugin.beir import BeirQuery, Qrels
from rerank_plugin.errors import InvalidValueError, MissingDependencyError
from rerank_plugin.search import Searcher

MEASURES = ("nDCG@10", "RR@10", "R@100")

Run = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """
    What a pipeline reached.

    :param measures: Means over all queries; a query without hits counts 0.
    :param per_query: For each measure, the value of each query.
    :param milliseconds: For each component, the median time of a query.
    """

    measures: dict[str, float]
    per_query: dict[str, dict[str, float]]
    milliseconds: dict[str, float]


def evaluate_pipeline(
    searcher: Searcher,
    queries: Mapping[str, BeirQuery],
    qrels: Qrels,
    *,
    depth: int = 100,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """
    Run queries through a pipeline and measure the rankings.

    Documents are recognised by `meta["doc_id"]`, which `rerank index` writes for collections in BEIR layout.

    :param searcher: The pipeline.
    :param queries: The queries by id; at least one.
    :param qrels: Their judgements.
    :param depth: Candidates of the first stage, and length of the rankings that are measured.
    :param progress: Called with the number of queries done after each query.
    :returns: Means, values by query, and times.
    :raises InvalidValueError: If there are no queries.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    if not queries:
        raise InvalidValueError("there are no judged queries to evaluate: check the split and the language")
    run: Run = {}
    times: dict[str, list[float]] = {}
    for count, query in enumerate(queries.values(), start=1):
        result = searcher.search(query.text, top_k=depth, candidates=depth)
        # The rank decides, not the score: trec_eval breaks ties of scores in a way of its own.
        run[query.id] = {
            str(hit.document.meta.get("doc_id", hit.document.id)): 1.0 / hit.rank for hit in reversed(result.hits)
        }
        for name, milliseconds in result.milliseconds.items():
            times.setdefault(name, []).append(milliseconds)
        if progress:
            progress(count)
    means, per_query = measure(run, {id_: qrels[id_] for id_ in queries})
    return Evaluation(means, per_query, {name: median(values) for name, values in times.items()})


def measure(
    run: Run, qrels: Qrels, measures: Sequence[str] = MEASURES
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """
    Measure a run against judgements.

    :param run: For each query, a score for each document; higher is better.
    :param qrels: The judgements. A query of theirs that the run lacks counts 0.
    :param measures: Names as ir-measures writes them.
    :returns: Means over the queries of `qrels`, and for each measure the value of each query.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("evaluation needs ir-measures: pip install 'rerank-plugin[eval]'") from error
    parsed = [ir_measures.parse_measure(name) for name in measures]
    per_query: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in measures}
    for metric in ir_measures.iter_calc(parsed, qrels, run):
        per_query[str(metric.measure)][metric.query_id] = metric.value
    means = {name: sum(values.values()) / len(values) for name, values in per_query.items()}
    return means, per_query
