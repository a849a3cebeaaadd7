"""What a trained model gains over the first stage, with confidence intervals."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rerank_plugin.evaluation.comparison import Difference
from rerank_plugin.evaluation.measures import NDCG
from rerank_plugin.evaluation.significance import bootstrap_intervals
from rerank_plugin.training.fitting.dev import FIRST_STAGE, MODEL, DevCollection


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
    :param first_stage: Which first stage.
    :param queries: How many.
    :param candidates: The most that a query has.
    :param ndcg: Of `first stage` and `model`.
    :param gain: The difference.
    """

    name: str
    first_stage: str
    queries: int
    candidates: int
    ndcg: dict[str, Value]
    gain: Difference


def measure_model(folder: Path, dev: DevCollection, progress: Callable[[int, int], None]) -> Figure:
    """
    Rerank with a model as a user would.

    :param folder: The model's folder.
    :param dev: Queries, candidates and judgements.
    :param progress: Called with queries done and queries in all.
    :returns: Its figures.
    """
    from rerank_plugin.components import CrossEncoderRanker

    ranker = CrossEncoderRanker(model=folder, calibration="none")
    ranker.warm_up()
    comparison = dev.measure(ranker.logits, measures=[NDCG], progress=progress)
    values = {}
    for name in (FIRST_STAGE, MODEL):
        per_query = np.array(list(comparison.evaluations[name].per_query[NDCG].values()))
        lows, highs = bootstrap_intervals(per_query[:, None])
        values[name] = Value(float(per_query.mean()), (float(lows[0]), float(highs[0])))
    return Figure(
        name=dev.name,
        first_stage=dev.first_stage,
        queries=len(dev.queries),
        candidates=max(map(len, dev.found.values()), default=0),
        ndcg=values,
        gain=comparison.between(FIRST_STAGE, MODEL, NDCG),
    )
