"""Fit probabilities, fusion weights and the depth rule on judged queries, and say what each brings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.candidates import JudgedCandidates
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.scoring.calibration import FILE_NAME, Calibration, calibration_error, fit_probabilities, sigmoid
from rerank_plugin.scoring.depth import DepthModel, fit_depth, stopping_point
from rerank_plugin.scoring.fusion import fuse

if TYPE_CHECKING:
    from haystack import Pipeline

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
CONFIDENCES = (0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
METHODS = ("platt", "temperature")
TOP_K = 10


@dataclass(frozen=True)
class CalibrationReport:
    """
    What came out.

    :param calibration: To be saved.
    :param lines: Facts for people, by name.
    """

    calibration: Calibration
    lines: dict[str, Any]


def calibrate(judged: Sequence[JudgedCandidates], *, method: str, source: dict[str, Any]) -> CalibrationReport:
    """
    Fit everything that judged queries tell about a second stage.

    :param judged: Queries with all their candidates scored.
    :param method: `platt` or `temperature`.
    :param source: Where the queries come from; kept in the calibration.
    :returns: The calibration, and what it brings on the same queries.
    :raises InvalidValueError: If the method is unknown, or the candidates are all relevant or all not.
    """
    if method not in METHODS:
        raise InvalidValueError(f"unknown method {method!r}: choose one of {list(METHODS)}")
    logits = np.concatenate([query.logits for query in judged]) if judged else np.empty(0, dtype=np.float32)
    relevant = np.concatenate([query.grades > 0 for query in judged]) if judged else np.empty(0, dtype=np.bool_)
    if len(set(relevant.tolist())) < 2:
        raise InvalidValueError(
            f"nothing can be fitted: of {len(relevant)} candidates {int(relevant.sum())} are judged relevant; "
            "check that the index was made from the same collection, and the split"
        )
    scale, bias = fit_probabilities(logits, relevant, method=method)
    if scale <= 0:
        raise InvalidValueError(
            f"the model ranks relevant passages below others (slope {scale:.3f}): it does not fit the data"
        )
    counts = {"queries": len(judged), "pairs": len(logits), "relevant": int(relevant.sum())}
    weights, qualities = _best_weights(judged)
    depth = fit_depth([q.logits for q in judged], [q.first_scores for q in judged], top_k=TOP_K)
    calibration = Calibration(
        scale=scale,
        bias=bias,
        fusion_weights=weights,
        depth=depth,
        fitted_on={
            **source,
            "queries": len(judged),
            "pairs": len(logits),
            "relevant": int(relevant.sum()),
            "method": method,
        },
    )
    first = ndcg(judged, lambda query: -np.arange(len(query.logits)))
    lines = {
        **counts,
        "calibration error before": round(calibration_error(sigmoid(logits), relevant), 4),
        "calibration error after": round(calibration_error(calibration.probabilities(logits), relevant), 4),
        f"{NDCG} of the first stage": round(first, 4),
        f"{NDCG} of the second stage": round(ndcg(judged, lambda query: query.logits), 4),
        **{f"{NDCG} of fusion {name}, weight {weights[name]}": round(qualities[name], 4) for name in weights},
        **_depth_lines(judged, depth),
    }
    return CalibrationReport(calibration, lines)


def ndcg(
    judged: Sequence[JudgedCandidates], keys: Callable[[JudgedCandidates], NDArray[np.floating] | NDArray[np.int64]]
) -> float:
    """
    Measure a ranking of candidates.

    :param judged: The queries.
    :param keys: For each query a value for each candidate, higher is better.
    :returns: The mean nDCG@10; relevant passages that are no candidates count against it.
    """
    run, qrels = {}, {}
    for query in judged:
        order = np.argsort(-keys(query), kind="stable")
        run[query.query_id] = {query.document_ids[i]: 1.0 / (rank + 1) for rank, i in enumerate(order)}
        qrels[query.query_id] = query.judgements
    return evaluate(run, qrels, [NDCG]).means[NDCG]


def _best_weights(judged: Sequence[JudgedCandidates]) -> tuple[dict[str, float], dict[str, float]]:
    """For each fusion the weight with the best nDCG@10, and that nDCG@10; of equal ones the largest."""
    weights, qualities = {}, {}
    for method in ("rrf", "linear"):
        if method == "linear" and any(np.isnan(query.first_scores).any() for query in judged):
            continue
        found = {weight: ndcg(judged, partial(_fused, method=method, weight=weight)) for weight in WEIGHTS}
        best = max(found, key=lambda weight: (round(found[weight], 6), weight))
        weights[method], qualities[method] = best, found[best]
    return weights, qualities


def _fused(query: JudgedCandidates, *, method: str, weight: float) -> NDArray[np.float64]:
    ranks = np.arange(1, len(query.logits) + 1)
    return fuse(method, weight, query.logits, first_ranks=ranks, first_scores=query.first_scores)


def _depth_lines(judged: Sequence[JudgedCandidates], depth: DepthModel | None) -> dict[str, str]:
    """For some confidences: how many candidates are scored, and what that does to the quality."""
    if depth is None:
        return {"adaptive depth": "not fitted: no candidate behind the first ones ever enters the result"}
    lines = {}
    for confidence in CONFIDENCES:
        rule = depth.at(confidence)
        stops = {q.query_id: stopping_point(rule, q.logits, q.first_scores, top_k=TOP_K) for q in judged}

        def key(query: JudgedCandidates, stops: dict[str, int] = stops) -> NDArray[np.float32]:
            return np.where(np.arange(len(query.logits)) < stops[query.query_id], query.logits, -np.inf).astype(np.float32)

        lines[f"adaptive depth {confidence}"] = f"{mean(stops.values()):.0f} candidates, {NDCG} {ndcg(judged, key):.4f}"
    return lines


def calibration_file(pipeline: "Pipeline", chosen: Path | None) -> Path:
    """
    Say where a calibration is written, before the work is done.

    :param pipeline: The pipeline whose ranker is calibrated.
    :param chosen: What the user asked for; `None`: the folder of the model.
    :returns: The file.
    :raises InvalidValueError: If the model is not in a folder of the user's, and no file was chosen.
    """
    if chosen is not None:
        return chosen
    model = str(getattr(pipeline.get_component("ranker"), "model", "")) if "ranker" in pipeline.graph.nodes else ""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise InvalidValueError(
            f"model {model!r} is not in a folder of yours: say where to write the calibration (--output FILE)"
        )
    return folder / FILE_NAME
