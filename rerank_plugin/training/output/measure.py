"""Measure the gain of a trained model over the first stage, with confidence intervals."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerank_plugin.evaluation.comparison import Difference
from rerank_plugin.evaluation.measures import NDCG
from rerank_plugin.evaluation.significance import bootstrap_intervals
from rerank_plugin.progress import CountCallback, ProgressCallback, counts_of
from rerank_plugin.training.fitting.dev import FIRST_STAGE, MODEL, DevCollection, candidates_of
from rerank_plugin.training.recipe.request import TrainingRequest


@dataclass(frozen=True)
class Value:
    """A mean over queries, and its 95 % bootstrap interval."""

    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """
    nDCG@10 on a collection.

    :param name: Collection and split.
    :param first_stage: Name of the first stage.
    :param queries: Number of queries.
    :param candidates: Maximum number of candidates of a query.
    :param ndcg: The means of `first stage` and `model`.
    :param gain: Their difference.
    """

    name: str
    first_stage: str
    queries: int
    candidates: int
    ndcg: dict[str, Value]
    gain: Difference


def measure(request: TrainingRequest, on_progress: ProgressCallback | None) -> list[Figure]:
    """
    Evaluate the saved model of a run on the collections of its request.

    :param request: The run.
    :param on_progress: Called while searching and reranking.
    :returns: A figure for each collection, the dev collection first.
    """
    figures = []
    for measured in (*([request.dev] if request.dev else []), *request.test):
        candidates = candidates_of(measured, request, depth=request.candidates, on_progress=on_progress)
        progress = counts_of(on_progress, f"Measuring on {candidates.name}")
        figures.append(measure_model(request.output, candidates, on_progress=progress))
    return figures


def measure_model(folder: Path, dev: DevCollection, *, on_progress: CountCallback) -> Figure:
    """
    Evaluate a model with the ranker that users run.

    :param folder: The model's folder.
    :param dev: Queries, candidates and judgements.
    :param on_progress: Called with queries done and total queries.
    :returns: Its figures.
    """
    from rerank_plugin.components import CrossEncoderRanker

    ranker = CrossEncoderRanker(model=folder, calibration="none")
    ranker.warm_up()
    comparison = dev.measure(ranker.logits, measures=[NDCG], on_progress=on_progress)
    values = {}
    for name in (FIRST_STAGE, MODEL):
        per_query = np.array(list(comparison.evaluations[name].per_query[NDCG].values()))
        lows, highs = bootstrap_intervals(per_query[:, None])
        values[name] = Value(float(per_query.mean()), (float(lows[0]), float(highs[0])))
    return Figure(
        name=dev.name,
        first_stage=dev.first_stage,
        queries=len(dev.queries),
        candidates=max(map(len, dev.candidates.values()), default=0),
        ndcg=values,
        gain=comparison.between(FIRST_STAGE, MODEL, NDCG),
    )
