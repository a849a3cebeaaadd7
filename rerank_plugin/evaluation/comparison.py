"""Compare systems on the same queries: the gain over a baseline, wins and losses, and significance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.checks import check_text, shown
from rerank_plugin.collections.runs import Runs
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.measures import DEFAULT_MEASURES, Evaluation, evaluate
from rerank_plugin.evaluation.significance import TOLERANCE, bootstrap_intervals, holm, randomisation_tests

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Difference:
    """
    The difference between a system and a baseline in one measure.

    :param baseline: Name of the baseline.
    :param system: Name of the system.
    :param measure: Name of the measure.
    :param mean: Mean of system minus baseline over the queries.
    :param interval: 95 % bootstrap interval of that mean.
    :param p: Two-sided p-value of the paired randomisation test.
    :param p_corrected: The p-value corrected for all comparisons in this measure (Holm).
    :param wins: Queries where the system is better.
    :param ties: Queries where both are equal.
    :param losses: Queries where the baseline is better.
    """

    baseline: str
    system: str
    measure: str
    mean: float
    interval: tuple[float, float]
    p: float
    p_corrected: float
    wins: int
    ties: int
    losses: int

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p-value is below 0.05."""
        return self.p_corrected < SIGNIFICANT


@dataclass(frozen=True)
class Comparison:
    """
    A comparison of systems.

    :param evaluations: Evaluations by name of the system.
    :param differences: For each compared pair and each measure.
    """

    evaluations: dict[str, Evaluation]
    differences: list[Difference]

    def between(self, baseline: str, system: str, measure: str) -> Difference:
        """
        Return the difference between two systems in a measure.

        :raises InvalidValueError: If these two were not compared in this measure.
        """
        for difference in self.differences:
            if (difference.baseline, difference.system, difference.measure) == (baseline, system, measure):
                return difference
        raise InvalidValueError(f"{system!r} was not compared with {baseline!r} in {measure!r}")


def compare(
    runs: Mapping[str, Runs],
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    baseline: str | None = None,
) -> Comparison:
    """
    Evaluate several runs and compare them with a baseline.

    :param runs: The run of each system, as `evaluate` takes it.
    :param qrels: For each query the grades of its judged documents.
    :param measures: Names in the notation of ir-measures.
    :param baseline: The system that the others are compared with; `None`: the first.
    :returns: Evaluations and differences.
    :raises InvalidValueError: If there are no runs, or the baseline is not one of them; see also `evaluate`.
    """
    if not isinstance(runs, Mapping):
        raise InvalidValueError(f"runs must be a mapping from names of systems to runs, got {shown(runs)}")
    if not runs:
        raise InvalidValueError("there are no runs to compare")
    for name in runs:
        check_text("name of a system", name)
    first = next(iter(runs)) if baseline is None else baseline
    if first not in runs:
        raise InvalidValueError(f"unknown baseline {shown(first)}: choose one of {list(runs)}")
    evaluations = {name: evaluate(run, qrels, measures) for name, run in runs.items()}
    return compare_evaluations(evaluations, [(first, name) for name in runs if name != first])


def compare_evaluations(evaluations: Mapping[str, Evaluation], pairs: Sequence[tuple[str, str]]) -> Comparison:
    """
    Compare evaluations on the same queries.

    :param evaluations: Evaluations by name of the system.
    :param pairs: Baseline and system of each comparison.
    :returns: The differences, for each pair in each measure.
    """
    measures = list(next(iter(evaluations.values())).per_query)
    tests = [(measure, *pair) for measure in measures for pair in pairs]
    if not tests:
        return Comparison(dict(evaluations), [])
    deltas = np.stack([differences_by_query(evaluations, (old, new), measure) for measure, old, new in tests], axis=1)
    p_values = randomisation_tests(deltas)
    # All comparisons in one measure are a family of tests.
    corrected = [
        p for start in range(0, len(tests), len(pairs)) for p in holm(p_values[start : start + len(pairs)].tolist())
    ]
    lows, highs = bootstrap_intervals(deltas)
    differences = [
        Difference(
            baseline=old,
            system=new,
            measure=measure,
            mean=float(deltas[:, i].mean()),
            interval=(float(lows[i]), float(highs[i])),
            p=float(p_values[i]),
            p_corrected=corrected[i],
            wins=int((deltas[:, i] > TOLERANCE).sum()),
            ties=int((np.abs(deltas[:, i]) <= TOLERANCE).sum()),
            losses=int((deltas[:, i] < -TOLERANCE).sum()),
        )
        for i, (measure, old, new) in enumerate(tests)
    ]
    return Comparison(dict(evaluations), differences)


def differences_by_query(evaluations: Mapping[str, Evaluation], pair: tuple[str, str], measure: str) -> NDArray[np.float64]:
    """
    Return the difference on each query.

    :param evaluations: Evaluations by name of the system.
    :param pair: Baseline and system.
    :param measure: Name of the measure.
    :returns: System minus baseline, shape (queries,), in the order of the baseline's queries.
    """
    before, after = (evaluations[name].per_query[measure] for name in pair)
    return np.array([after[query] - value for query, value in before.items()])
