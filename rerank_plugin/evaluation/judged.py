"""The pipelines of an index on its judged queries: what is better, how surely, and how many more queries would decide."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import ceil
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.evaluation.comparison import compare_evaluations, differences_by_query
from rerank_plugin.evaluation.experiment import Experiment, ExperimentSettings
from rerank_plugin.evaluation.measures import NDCG, Evaluation, evaluate
from rerank_plugin.evaluation.plan import plan_evaluation
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.evaluation.run import answer
from rerank_plugin.evaluation.significance import TOLERANCE, bootstrap_intervals
from rerank_plugin.judgements.dataset import ALL
from rerank_plugin.progress import ProgressCallback

CANDIDATES = 100
# With so many queries, a true difference of the size that was seen is found with a probability of POWER.
LEVEL, POWER = 0.95, 0.8
# Fewer judged queries than this say little, whatever their differences.
FEWEST = 10
# Nobody judges more queries than this to tell two pipelines apart.
MOST = 10_000


@dataclass(frozen=True)
class PipelineFigure:
    """
    nDCG@10 of a pipeline.

    :param name: Its name.
    :param ndcg: The mean over the queries.
    :param interval: 95 % bootstrap interval of the mean.
    """

    name: str
    ndcg: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class PairedDifference:
    """
    The difference between two pipelines in nDCG@10, query by query.

    :param a: The one.
    :param b: The other.
    :param difference: Mean of b minus a.
    :param interval: 95 % bootstrap interval of that mean.
    :param decided: Whether the difference is significant: the corrected p-value of the paired randomisation test is below
        0.05, and there are enough queries.
    :param needs: About so many more judged queries would decide it; `None`: it is decided, or more than anyone would judge.
    """

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    decided: bool
    needs: int | None

    def __str__(self) -> str:
        low, high = self.interval
        better, worse = (self.b, self.a) if self.difference >= 0 else (self.a, self.b)
        size = f"{abs(self.difference):.3f} {NDCG} (95 % interval of {self.b} minus {self.a}: {low:+.3f} to {high:+.3f})"
        if self.decided:
            return f"{better} is better than {worse} by {size}."
        if abs(self.difference) <= TOLERANCE:
            return f"{self.a} and {self.b} are equally good here ({NDCG} differs by less than 0.001)."
        more = f"about {self.needs:,} more judged queries" if self.needs else f"more than {MOST:,} judged queries"
        return f"{better} is ahead of {worse} by {size}: a decision needs {more}."


@dataclass(frozen=True)
class JudgedEvaluation:
    """
    What judged queries say about pipelines.

    :param queries: Number of judged queries with a relevant document.
    :param left_out: Judged queries without one, on which all pipelines are equal.
    :param pipelines: The figure of each pipeline.
    :param differences: Each pair of pipelines.
    :param failed: Queries on which a pipeline failed, which count as 0.
    """

    queries: int
    left_out: int
    pipelines: list[PipelineFigure]
    differences: list[PairedDifference]
    failed: int

    @property
    def words(self) -> str:
        """The same in sentences."""
        counted = f"{self.queries:,} judged quer{'y' if self.queries == 1 else 'ies'} with a relevant document"
        figures = ", ".join(f"{figure.name} {figure.ndcg:.3f}" for figure in self.pipelines)
        failed = [f"{self.failed:,} answers failed and count as 0."] if self.failed else []
        return " ".join([f"{NDCG} on {counted}: {figures}.", *map(str, self.differences), *failed])


@dataclass
class JudgedQueries:
    """
    Evaluates pipelines on the judged queries of an index. Models stay loaded, and a query is answered again only if the
    documents have changed.

    :param index: The folder of the index.
    :param embedding_model: Embedding model to use instead of the pipelines'.
    """

    index: Path
    embedding_model: str | None = None
    _experiment: Experiment = field(default_factory=lambda: Experiment(ExperimentSettings(CANDIDATES)))

    def evaluate(
        self, pipelines: Sequence[str], *, split: str = ALL, on_progress: ProgressCallback | None = None
    ) -> JudgedEvaluation:
        """
        Evaluate pipelines and compare each with each.

        :param pipelines: Names or YAML files.
        :param split: `all` judged queries, or those of `dev` or `test`.
        :param on_progress: Called with the current step, the work done and the total work.
        :raises InvalidValueError: If no query of the split was judged, or none has a relevant document.
        :raises PipelineConfigError: If a pipeline cannot be loaded.
        """
        request = EvalRequest(
            dataset=str(self.index),
            pipelines=pipelines,
            split=split,
            candidates=CANDIDATES,
            measures=[NDCG],
            embedding_model=self.embedding_model,
        )
        plan = plan_evaluation(request)
        assert plan.collection is not None  # the index
        outcomes = answer(plan, plan.collection, self._experiment, on_progress)
        evaluations = {
            name: evaluate({outcome.query: outcome.ranking for outcome in answers}, plan.qrels, [NDCG])
            for name, answers in outcomes.items()
        }
        first = next(iter(evaluations.values()))
        return JudgedEvaluation(
            queries=len(first.queries),
            left_out=len(first.without_relevant),
            pipelines=[_figure(name, evaluation) for name, evaluation in evaluations.items()],
            differences=_differences(evaluations),
            failed=sum(outcome.has_failed for answers in outcomes.values() for outcome in answers),
        )


def queries_needed(differences: NDArray[np.float64]) -> int | None:
    """
    Estimate how many queries show a difference, from the variance of the paired differences.

    The mean of n differences is significant at 95 % with a probability of 80 %, if the true difference is the one that was
    seen, when n is at least ((z(0.975) + z(0.8)) * standard deviation / mean) squared.

    :param differences: The difference on each query so far.
    :returns: The number of queries, at least `FEWEST`; `None` if there is no difference, or it is above `MOST`.
    """
    mean = abs(float(differences.mean()))
    if mean <= TOLERANCE:
        return None
    if len(differences) < 2:
        return FEWEST
    normal = NormalDist()
    factor = normal.inv_cdf((1 + LEVEL) / 2) + normal.inv_cdf(POWER)
    needed = max(FEWEST, ceil((factor * float(differences.std(ddof=1)) / mean) ** 2))
    return needed if needed <= MOST else None


def _figure(name: str, evaluation: Evaluation) -> PipelineFigure:
    values = np.array(list(evaluation.per_query[NDCG].values()))
    lows, highs = bootstrap_intervals(values[:, None])
    return PipelineFigure(name, float(values.mean()), (float(lows[0]), float(highs[0])))


def _differences(evaluations: dict[str, Evaluation]) -> list[PairedDifference]:
    pairs = list(combinations(evaluations, 2))
    found = []
    for difference in compare_evaluations(evaluations, pairs).differences:
        by_query = differences_by_query(evaluations, (difference.baseline, difference.system), NDCG)
        decided = difference.is_significant and len(by_query) >= FEWEST
        needed = None if decided else queries_needed(by_query)
        found.append(
            PairedDifference(
                a=difference.baseline,
                b=difference.system,
                difference=difference.mean,
                interval=difference.interval,
                decided=decided,
                needs=None if needed is None else max(1, needed - len(by_query)),
            )
        )
    return found
