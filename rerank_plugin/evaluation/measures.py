"""Evaluate runs against judgements, with ir-measures (which calls trec_eval)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from rerank_plugin.checks import check_text, shown
from rerank_plugin.collections.runs import Ranking, Runs, as_scores, without_ties
from rerank_plugin.errors import InvalidValueError, MissingDependencyError, reason_of
from rerank_plugin.evaluation.input_checks import HIGHEST_GRADE, check_ids, check_qrels, check_ranking, check_scores

if TYPE_CHECKING:
    from ir_measures.measures import Measure

NDCG = "nDCG@10"
DEFAULT_MEASURES = (NDCG, "RR@10", "AP", "P@10", "R@100", "Judged@10")
# Queries evaluated at once, so that no copy of the whole run is held in memory.
CHUNK = 500
# Largest cutoff of a measure.
DEEPEST = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """
    The evaluation of a run.

    :param per_query: For each measure, the value of each query that counts. Queries without hits count 0.
    :param without_relevant: Judged queries without a relevant document; every run would get 0 there, so they are left out.
    :param without_hits: Queries that count 0 because the run has no document for them.
    :param unjudged: Number of queries of the run without judgements; they are left out.
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
    Evaluate a run against judgements.

    The values are those of `trec_eval`; for every measure, scores that are equal in single precision are ordered by id, in
    descending order. Grades below zero mean judged and not relevant. `Judged@k` is the share of the first k documents (fewer
    where the system returned fewer) that were judged.

    :param run: For each query the answer: scores by document id, or the documents that a Haystack component returned.
    :param qrels: For each query the grades of its judged documents.
    :param measures: Names in the notation of ir-measures, such as `nDCG@10`, `RR@10`, `AP`, `P(rel=2)@5`, `R@100`.
    :returns: Values by query, and what was left out.
    :raises InvalidValueError: If a measure is unknown, an id is not text, a score or a grade is not a number, or no judged
        query has a relevant document.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    parsed = parse_measures(measures)
    check_qrels(qrels)
    if not isinstance(run, Mapping):
        raise InvalidValueError(f"a run must be a mapping from query ids to answers, got {shown(run)}")
    check_ids("run", run)
    counted = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    if not counted:
        raise InvalidValueError(f"none of {len(qrels)} judged queries has a relevant document: nothing can be measured")
    per_query = {name: dict.fromkeys(counted, 0.0) for name in parsed}
    without_hits = []
    for chunk in _chunks(counted.items()):
        scores = {query: _comparable(query, run[query]) for query, _ in chunk if query in run}
        without_hits += [query for query, _ in chunk if not scores.get(query)]
        answered = {query: values for query, values in scores.items() if values}
        grades = {query: {id_: max(grade, 0) for id_, grade in counted[query].items()} for query in answered}
        if answered:
            for name, query, value in _calculate(parsed, grades, answered):
                per_query[name][query] = value
    return Evaluation(
        per_query,
        without_relevant=tuple(query for query in qrels if query not in counted),
        without_hits=tuple(without_hits),
        unjudged=sum(query not in qrels for query in run),
    )


def _comparable(query: str, ranking: Ranking) -> dict[str, float]:
    """Return the scores of an answer, with ties in single precision broken."""
    with np.errstate(over="ignore"):  # overflow becomes infinite, as in trec_eval
        return without_ties(query, check_scores(query, as_scores(check_ranking(query, ranking))))


def check_measures(names: Sequence[str]) -> None:
    """
    Check that measures exist and can be calculated on this machine, before any expensive work.

    :param names: Names in the notation of ir-measures.
    :raises InvalidValueError: If a name is unknown, a parameter is invalid, or there is no measure.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    for name, measure in parse_measures(names).items():
        list(_calculate({name: measure}, {"q": {"a": 1, "b": 0}}, {"q": {"a": 2.0, "b": 1.0}}))


def parse_measures(names: Sequence[str]) -> "dict[str, Measure]":
    """
    Parse the names of measures.

    :param names: Names in the notation of ir-measures.
    :returns: Measures by their canonical names.
    :raises InvalidValueError: If a name is unknown, a parameter is invalid, or there is no measure.
    :raises MissingDependencyError: If ir-measures is not installed.
    """
    try:
        import ir_measures
    except ImportError as error:
        raise MissingDependencyError("evaluation needs ir-measures: pip install 'rerank-plugin[eval]'") from error
    if isinstance(names, str) or not names:
        raise InvalidValueError(f"measures must be a list with at least one measure, such as {NDCG}, got {shown(names)}")
    measures = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(check_text("measure", name))
            canonical = str(measure)
        except InvalidValueError:
            raise
        except (NameError, ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError):
            raise InvalidValueError(
                f"unknown measure {shown(name)}: write it as ir-measures does, such as nDCG@10, RR, AP"
            ) from None
        _check_parameters(name, measure)
        measures[canonical] = measure
    return measures


def _check_parameters(name: str, measure: "Measure") -> None:
    """Refuse parameters that crash trec_eval: a cutoff of 0 ends the process."""
    for parameter, most in (("cutoff", DEEPEST), ("rel", HIGHEST_GRADE)):
        if parameter not in measure.params:
            continue
        value = measure.params[parameter]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise InvalidValueError(f"measure {shown(name)}: {parameter} must be a whole number from 1 to {most}")


def _calculate(
    measures: "dict[str, Measure]", qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]
) -> Iterator[tuple[str, str, float]]:
    """Yield name, query and value. `RR@k` is derived from `RR`, as ir-measures takes it from a slower tool."""
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
    except Exception as error:
        raise InvalidValueError(
            f"measure {' or '.join(measures)} cannot be calculated here ({reason_of(error)}): choose another one, "
            f"such as {NDCG}"
        ) from error


def _chunks(items: Iterable[tuple[str, Mapping[str, int]]]) -> Iterator[list[tuple[str, Mapping[str, int]]]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk
