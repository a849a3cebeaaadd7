"""The Pareto front of quality and time over the settings of a sweep, and the fastest setting that is good enough."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rerank_plugin.collections.runs import Run
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.evaluation.comparison import SIGNIFICANT
from rerank_plugin.evaluation.grid import Setting
from rerank_plugin.evaluation.measures import Evaluation, evaluate
from rerank_plugin.evaluation.significance import randomisation_tests

# With fewer queries a test misses even large differences: TREC's collections have 50.
FEWEST_QUERIES = 50
_TOO_FEW = (
    f"only {{count}} judged queries: with fewer than {FEWEST_QUERIES} a setting that is much worse often passes as not "
    "significantly worse; judge more queries before you rely on this choice"
)


@dataclass(frozen=True)
class SweepPoint:
    """
    Quality and time of a setting.

    :param setting: The setting; `None`: the first stage alone.
    :param quality: Mean of the measure.
    :param milliseconds: Median time of a query, both stages.
    :param p: p-value of the paired randomisation test against the best setting, not corrected: a correction for many tests
        would let more settings pass as no worse.
    :param p_first: The same against the first stage alone: whether the second stage helps.
    :param on_front: Whether no other setting is at least as fast and as good, and better in one of the two.
    """

    setting: Setting | None
    quality: float
    milliseconds: float
    p: float
    p_first: float
    on_front: bool

    @property
    def name(self) -> str:
        """The name of the setting in reports."""
        return str(self.setting or "first stage alone")


@dataclass(frozen=True)
class SweepResult:
    """
    The results of a sweep.

    :param title: Collection, pipeline and number of queries.
    :param measure: Name of the measure.
    :param queries: Number of queries.
    :param points: Every setting, fastest first.
    :param best: The setting with the highest quality.
    :param choice: The fastest setting that is not significantly worse.
    :param retrieved: Number of documents from each retriever, which a joiner then cut to the setting's candidates. `None`:
        there is one retriever, which returned the setting's candidates.
    :param troubles: Failures, and why the recommendation may be wrong; one line each.
    """

    title: str
    measure: str
    queries: int
    points: list[SweepPoint]
    best: SweepPoint
    choice: SweepPoint
    retrieved: int | None = None
    troubles: tuple[str, ...] = ()

    @property
    def front(self) -> list[SweepPoint]:
        """The Pareto front: fastest first, each better than all before it."""
        return [point for point in self.points if point.on_front]


def choose(
    title: str,
    measure: str,
    runs: Mapping[Setting | None, Run],
    qrels: Qrels,
    milliseconds: Mapping[Setting | None, float],
    *,
    retrieved: int | None = None,
    troubles: Sequence[str] = (),
) -> SweepResult:
    """
    Find the Pareto front, and the fastest setting that is not significantly worse than the best.

    :param title: Title of the result.
    :param measure: Name of the measure.
    :param runs: The run of each setting; `None` is the first stage alone.
    :param qrels: Judgements of the queries.
    :param milliseconds: Time per query, by setting.
    :param retrieved: See `SweepResult`.
    :param troubles: See `SweepResult`.
    """
    evaluations: dict[Setting | None, Evaluation] = {
        setting: evaluate(run, qrels, [measure]) for setting, run in runs.items()
    }
    values = np.array([list(evaluation.per_query[measure].values()) for evaluation in evaluations.values()])
    means = values.mean(axis=1)
    best = int(np.lexsort((list(milliseconds.values()), -means))[0])
    p_values = randomisation_tests((values[best] - values).T)
    p_first = randomisation_tests((values - values[list(evaluations).index(None)]).T)
    points = []
    for i, setting in enumerate(evaluations):
        time = milliseconds[setting]
        is_beaten = any(
            milliseconds[other] <= time and means[j] >= means[i] and (milliseconds[other] < time or means[j] > means[i])
            for j, other in enumerate(evaluations)
        )
        points.append(
            SweepPoint(setting, float(means[i]), round(time, 2), float(p_values[i]), float(p_first[i]), not is_beaten)
        )
    best_point = points[best]
    cautions = [_TOO_FEW.format(count=values.shape[1])] if values.shape[1] < FEWEST_QUERIES else []
    good_enough = [point for point in points if point.p >= SIGNIFICANT]
    choice = min(good_enough, key=_fastest_first)
    return SweepResult(
        title,
        measure,
        values.shape[1],
        sorted(points, key=_fastest_first),
        best_point,
        choice,
        retrieved,
        (*troubles, *cautions),
    )


def _fastest_first(point: SweepPoint) -> tuple[float, float]:
    return point.milliseconds, -point.quality
