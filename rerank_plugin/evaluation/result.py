"""The results of an evaluation."""

from dataclasses import dataclass, field

from rerank_plugin.collections.runs import Runs
from rerank_plugin.collections.trec import Qrels
from rerank_plugin.evaluation.collection import Collection
from rerank_plugin.evaluation.comparison import Comparison
from rerank_plugin.evaluation.costs import Latency
from rerank_plugin.evaluation.curves import DepthCurve
from rerank_plugin.evaluation.measures import Evaluation
from rerank_plugin.evaluation.outcomes import Outcome


@dataclass(frozen=True)
class EvalResult:
    """
    The results of an evaluation.

    :param title: Collection, split and number of queries.
    :param facts: How it was measured: values by name, for display.
    :param collection: The collection; `None` if only runs were evaluated.
    :param queries: Texts by id, of the queries that count.
    :param qrels: Their judgements.
    :param comparison: Measures of every system, and differences.
    :param runs: The rankings of every system.
    :param outcomes: The answers of the pipelines.
    :param latencies: Times of stages.
    :param pairs: Pairs scored per query, by pipeline.
    :param curves: Quality by depth.
    :param without_curve: Pipelines that rerank, but whose quality at smaller depths cannot be derived.
    :param remarks: By pipeline, what its figures mean if they are not those of two stages.
    """

    title: str
    facts: dict[str, int | str]
    collection: Collection | None
    queries: dict[str, str]
    qrels: Qrels
    comparison: Comparison
    runs: dict[str, Runs]
    outcomes: dict[str, list[Outcome]]
    latencies: list[Latency]
    pairs: dict[str, float]
    curves: list[DepthCurve]
    without_curve: list[str]
    remarks: dict[str, str] = field(default_factory=dict)

    @property
    def measure(self) -> str:
        """The main measure: the first one requested."""
        return next(iter(next(iter(self.evaluations.values())).per_query))

    @property
    def evaluations(self) -> dict[str, Evaluation]:
        """Measures of every system."""
        return self.comparison.evaluations

    @property
    def failures(self) -> list[tuple[str, Outcome]]:
        """Name of the pipeline and outcome, for each query that failed."""
        return [(name, answer) for name, answers in self.outcomes.items() for answer in answers if answer.has_failed]
