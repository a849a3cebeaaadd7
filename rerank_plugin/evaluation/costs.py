"""The cost of answers: milliseconds of each stage, and pairs scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from rerank_plugin.evaluation.outcomes import Outcome

# Names of the stages in reports.
FIRST, SECOND, TOTAL = "first stage", "second stage", "together"


@dataclass(frozen=True)
class Latency:
    """
    The time of a stage per query.

    :param system: Name of the pipeline.
    :param stage: `first stage`, `second stage`, `together`, or the name of a component.
    :param queries: Number of queries timed.
    :param median: Median in milliseconds.
    :param p95: 95th percentile in milliseconds.
    """

    system: str
    stage: str
    queries: int
    median: float
    p95: float


def latencies(outcomes: Mapping[str, Sequence[Outcome]], *, components: bool = False) -> list[Latency]:
    """
    Summarise times. Only queries for which every stage of a pipeline was timed count.

    :param outcomes: Outcomes by pipeline.
    :param components: Per component instead of per stage.
    :returns: Latencies, in the order of the pipelines; a pipeline without a second stage has one row.
    """
    rows = []
    for system, answers in outcomes.items():
        reranks = any(answer.first_ranks for answer in answers)
        timed = [answer for answer in answers if not answer.has_failed and answer.milliseconds]
        if reranks:
            timed = [answer for answer in timed if answer.second_stage in answer.milliseconds]
        stages: dict[str, list[float]] = {}
        for answer in timed:
            times = answer.milliseconds if components else _by_stage(answer, reranks=reranks)
            for stage, value in times.items():
                stages.setdefault(stage, []).append(value)
        for stage, values in stages.items():
            median, p95 = np.percentile(values, [50, 95])
            rows.append(Latency(system, stage, len(values), round(float(median), 2), round(float(p95), 2)))
    return rows


def _by_stage(answer: Outcome, *, reranks: bool) -> dict[str, float]:
    second = answer.milliseconds.get(answer.second_stage, 0.0)
    total = sum(answer.milliseconds.values())
    return {FIRST: total - second, SECOND: second, TOTAL: total} if reranks else {TOTAL: total}


def pairs_scored(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, float]:
    """Return the mean number of pairs that the second stage scores per query, by pipeline; 0 if there is none."""
    return {system: fmean([answer.pairs for answer in answers] or [0]) for system, answers in outcomes.items()}
