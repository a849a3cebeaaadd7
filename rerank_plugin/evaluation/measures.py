"""Measure runs against judgements, with ir-measures (which asks trec_eval)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from rerank_plugin.collections.runs import Runs, as_scores, without_ties
from rerank_plugin.errors import InvalidValueError, MissingDependencyError

if TYPE_CHECKING:
    from ir_measures.measures import Measure

NDCG = "nDCG@10"
DEFAULT_MEASURES = (NDCG, "RR@10", "AP", "P@10", "R@100", "Judged@10")
# Queries that are measured at once: what is read only once need not be held at once.
CHUNK = 500


@dataclass(frozen=True)
class Evaluation:
    """
    How good a run is.

    :param per_query: For each measure, the value of each query that counts. Queries without hits count 0.
    :param without_relevant: Judged queries that have no relevant document: no run can do well or badly there, so they are
        left out.
    :param without_hits: Queries that count 0 because nothing was found.
    :param unjudged: How many queries of the run have no judgements: left out.
    """

    per_query: dict[str, dict[str, float]]
    without_relevant: tuple[str, ...] = ()
    without_hits: tuple[str, ...] = ()
    unjudged: int = 0

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over the queries that count."""
        return {name: fmean(values.values()) for name, values in self.per_query.items()}

    @property
    def queries(self) -> list[str]:
        """The queries that count."""
        return list(next(iter(self.per_query.values())))


def evaluate(run: Runs, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str] = DEFAULT_MEASURES) -> Evaluation:
    """
    Measure a run against judgements.

    The values are those of `trec_eval`; scores that are equal in single precision are ordered by id, the greater first, for
    every measure. Grades below zero mean judged and not relevant. `Judged@k` is the
    share of the first k documents (fewer where fewer were found) that were judged.

    :param run: For each query the answer: scores by document id, or the documents that a Haystack component returned.
    :param qrels: For each query the grades of its judged documents.
    :param measures: Names as ir-measures writes them, such as `nDCG@10`, `RR@10`, `AP`, `P(rel=2)@5`, `R@100`.
    :returns: Values by query, and what was left out.
    :raises InvalidValueError: If a measure is unknown, a score is no number, or no judged query has a relevant document.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    counted = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    if not counted:
        raise InvalidValueError(f"none of {len(qrels)} judged queries has a relevant document: nothing can be measured")
    parsed = parse_measures(measures)
    per_query = {name: dict.fromkeys(counted, 0.0) for name in parsed}
    without_hits = []
    for chunk in _chunks(counted.items()):
        scores = {query: without_ties(query, as_scores(run[query])) for query, _ in chunk if query in run}
        without_hits += [query for query, _ in chunk if not scores.get(query)]
        found = {query: values for query, values in scores.items() if values}
        grades = {query: {id_: max(grade, 0) for id_, grade in counted[query].items()} for query in found}
        if found:
            for name, query, value in _calculate(parsed, grades, found):
                per_query[name][query] = value
    return Evaluation(
        per_query,
        without_relevant=tuple(query for query in qrels if query not in counted),
        without_hits=tuple(without_hits),
        unjudged=sum(query not in qrels for query in run),
    )


def parse_measures(names: Sequence[str]) -> "dict[str, Measure]":
    """
    Read the names of measures.

    :param names: As ir-measures writes them.
    :returns: Measures by their canonical names.
    :raises InvalidValueError: If a name is unknown, or there is none.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("evaluation needs ir-measures: pip install 'rerank-plugin[eval]'") from error
    if not names:
        raise InvalidValueError(f"name at least one measure, such as {NDCG}")
    measures = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
        except (NameError, ValueError, SyntaxError, TypeError):
            raise InvalidValueError(
                f"unknown measure {name!r}: write it as ir-measures does, such as nDCG@10, RR, AP"
            ) from None
        measures[str(measure)] = measure
    return measures


def _calculate(
    measures: "dict[str, Measure]", qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]
) -> Iterator[tuple[str, str, float]]:
    """Yield name, query and value. `RR@k` is worked out from `RR`, as ir-measures reads it from a slower tool."""
    import ir_measures

    cut = {
        name: measure["cutoff"] for name, measure in measures.items() if measure.NAME == "RR" and "cutoff" in measure.params
    }
    whole = {name: ir_measures.RR(**{k: v for k, v in measures[name].params.items() if k != "cutoff"}) for name in cut}
    wanted = {*whole.values(), *(measure for name, measure in measures.items() if name not in cut)}
    uncut: dict[str, list[str]] = {}
    for name, measure in whole.items():
        uncut.setdefault(str(measure), []).append(name)
    try:
        for metric in ir_measures.iter_calc(wanted, qrels, run):
            name = str(metric.measure)
            if name in measures:
                yield name, metric.query_id, metric.value
            for cut_name in uncut.get(name, []):
                rank = round(1 / metric.value) if metric.value else 0
                yield cut_name, metric.query_id, metric.value if rank <= cut[cut_name] else 0.0
    except ValueError as error:
        raise InvalidValueError(f"one of the measures {', '.join(measures)} cannot be calculated: {error}") from error


def _chunks(items: Iterable[tuple[str, Mapping[str, int]]]) -> Iterator[list[tuple[str, Mapping[str, int]]]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
