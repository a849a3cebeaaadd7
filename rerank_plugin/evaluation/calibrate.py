"""Fit probabilities, fusion weights and stopping rules on judged queries, and report the effect of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from rerank_plugin.checks import check_choice
from rerank_plugin.errors import InputFileError, InvalidValueError, MissingDependencyError
from rerank_plugin.evaluation.candidates import FusionSetting
from rerank_plugin.evaluation.effort_effects import EffortEffect, effort_effects, fit_early_exit_rule
from rerank_plugin.evaluation.fusion_advice import FusionAdvice, advise_fusion
from rerank_plugin.evaluation.judged_candidates import JudgedCandidates
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.evaluation.stages import StagedPipeline
from rerank_plugin.scoring.calibration import FILE_NAME, Calibration, calibration_error, fit_probabilities, sigmoid
from rerank_plugin.scoring.depth import DepthModel, fit_depth, shares_of_best, stopping_point
from rerank_plugin.scoring.fusion import fusions_of
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL

WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
CONFIDENCES = (0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
METHODS = ("platt", "temperature")
TOP_K = 10


@dataclass(frozen=True)
class DepthEffect:
    """
    The effect of adaptive depth at a confidence.

    :param confidence: The value of the ranker's parameter `adaptive_depth`.
    :param candidates: Mean number of candidates scored.
    :param quality: nDCG@10.
    """

    confidence: float
    candidates: float
    quality: float


@dataclass(frozen=True)
class CalibrationReport:
    """
    A calibration, and its effect on the queries that it was fitted on.

    :param calibration: The calibration.
    :param queries: Number of queries with candidates.
    :param pairs: Number of query-candidate pairs.
    :param relevant: Number of these that are judged relevant.
    :param errors: Expected calibration error before and after.
    :param first_stage: nDCG@10 of the first stage.
    :param second_stage: nDCG@10 of the second stage.
    :param fusions: nDCG@10 of each fusion with its best weight.
    :param depths: Adaptive depth at several confidences; empty if no rule could be fitted.
    :param efforts: The efforts that save work; empty if no rule could be fitted.
    :param advice: Whether the second stage pays behind this first stage, and with which fusion.
    """

    calibration: Calibration
    queries: int
    pairs: int
    relevant: int
    errors: tuple[float, float]
    first_stage: float
    second_stage: float
    fusions: dict[str, float]
    depths: list[DepthEffect]
    efforts: list[EffortEffect]
    advice: FusionAdvice

    def lines(self) -> dict[str, int | float | str]:
        """Return the figures by name, for display."""
        weights = self.calibration.fusion_weights
        depths = {
            f"adaptive depth {effect.confidence}": f"{effect.candidates:.0f} candidates, {NDCG} {effect.quality:.4f}"
            for effect in self.depths
        }
        return {
            "queries": self.queries,
            "pairs": self.pairs,
            "relevant": self.relevant,
            "calibration error before": round(self.errors[0], 4),
            "calibration error after": round(self.errors[1], 4),
            f"{NDCG} of the first stage": round(self.first_stage, 4),
            f"{NDCG} of the second stage": round(self.second_stage, 4),
            **{f"{NDCG} of fusion {name}, weight {weights[name]}": round(value, 4) for name, value in self.fusions.items()},
            **{
                f"effort {effect.effort}": f"{effect.candidates:.0f} candidates with all layers, {NDCG} {effect.quality:.4f}"
                for effect in self.efforts
            },
            **(depths or {"adaptive depth": "not fitted: no candidate beyond the first ones ever enters the result"}),
            "verdict": self.advice.text,
        }


def check_calibration(method: str, output: Path) -> None:
    """
    Check the requirements of a calibration, before candidates are scored for it.

    :param method: See `calibrate`.
    :param output: The file that will be written.
    :raises InvalidValueError: If the method is unknown.
    :raises InputFileError: If the file cannot be written.
    :raises MissingDependencyError: If scikit-learn or ir-measures is not installed.
    """
    check_choice("method", method, METHODS)
    for package, module in (("scikit-learn", "sklearn"), ("ir-measures", "ir_measures")):
        if find_spec(module) is None:
            raise MissingDependencyError(f"calibration needs {package}: pip install 'rerank-plugin[eval]'")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if output.is_dir() or not above.is_dir():
        raise InputFileError(f"the calibration cannot be written to {output}: choose a file with --output FILE")


def calibrate(judged: Sequence[JudgedCandidates], *, method: str, source: dict[str, Any]) -> CalibrationReport:
    """
    Fit all parameters of a second stage on judged queries.

    :param judged: Queries with all their candidates scored.
    :param method: `platt` or `temperature`.
    :param source: Origin of the queries, stored in the calibration.
    :returns: The calibration, and its effect on the same queries.
    :raises InvalidValueError: If the method is unknown, or the candidates are all relevant or all not relevant.
    """
    check_choice("method", method, METHODS)
    logits = np.concatenate([query.scored.logits for query in judged]) if judged else np.empty(0, dtype=np.float32)
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
    fusions, qualities = _best_fusions(judged)
    advice = advise_fusion(judged)
    depth = fit_depth(
        [q.scored.logits for q in judged], [shares_of_best(q.scored.first_scores) for q in judged], top_k=TOP_K
    )
    calibration = Calibration(
        scale=scale,
        bias=bias,
        fusion_weights={fusion.method: fusion.weight for fusion in fusions},
        depth=depth,
        fitted_on={**source, **counts, "method": method, **advice.as_json()},
    )
    calibration = replace(calibration, early_exit=fit_early_exit_rule(judged, calibration, top_k=TOP_K))
    errors = (calibration_error(p, relevant) for p in (sigmoid(logits), calibration.probabilities(logits)))
    return CalibrationReport(
        calibration=calibration,
        **counts,
        errors=(next(errors), next(errors)),
        first_stage=ndcg(judged, lambda query: query.scored.ordered_by(-np.arange(len(query.scored), dtype=np.float64))),
        second_stage=ndcg(judged, lambda query: query.scored.ranking(len(query.scored))),
        fusions=qualities,
        depths=_depth_effects(judged, depth),
        efforts=effort_effects(judged, calibration, top_k=TOP_K),
        advice=advice,
    )


def ndcg(judged: Sequence[JudgedCandidates], rank: Callable[[JudgedCandidates], dict[str, float]]) -> float:
    """
    Measure a ranking of candidates.

    :param judged: The queries.
    :param rank: Returns scores by document for a query, higher is better.
    :returns: The mean nDCG@10; relevant documents that are not candidates count against it.
    """
    run = {query.query_id: rank(query) for query in judged}
    return evaluate(run, {query.query_id: query.judgements for query in judged}, [NDCG]).means[NDCG]


def _best_fusions(judged: Sequence[JudgedCandidates]) -> tuple[list[FusionSetting], dict[str, float]]:
    """Return each fusion with the weight of the best nDCG@10 (ties: the largest weight), and that nDCG@10 by method."""
    best: list[FusionSetting] = []
    qualities: dict[str, float] = {}
    for method in fusions_of(np.concatenate([query.scored.first_scores for query in judged])):
        values = {weight: ndcg(judged, partial(_fused, FusionSetting(method, weight))) for weight in WEIGHTS}
        weight = max(values, key=lambda weight: (round(values[weight], 6), weight))
        best.append(FusionSetting(method, weight))
        qualities[method] = values[weight]
    return best, qualities


def _fused(fusion: FusionSetting, query: JudgedCandidates) -> dict[str, float]:
    return query.scored.ranking(len(query.scored), fusion)


def _depth_effects(judged: Sequence[JudgedCandidates], depth: DepthModel | None) -> list[DepthEffect]:
    """Return, for several confidences, how many candidates are scored and the resulting quality."""
    if depth is None:
        return []
    effects = []
    for confidence in CONFIDENCES:
        rule = depth.at(confidence)
        stops = {
            q.query_id: stopping_point(rule, q.scored.logits, shares_of_best(q.scored.first_scores), top_k=TOP_K)
            for q in judged
        }
        effects.append(DepthEffect(confidence, mean(stops.values()), ndcg(judged, partial(_stopped, stops))))
    return effects


def _stopped(stops: Mapping[str, int], query: JudgedCandidates) -> dict[str, float]:
    return query.scored.ranking(stops[query.query_id])


def calibration_file(staged: StagedPipeline, chosen: Path | None) -> Path:
    """
    Return the file that a calibration will be written to.

    :param staged: The pipeline whose ranker is calibrated.
    :param chosen: The user's choice; `None`: the folder of the model.
    :returns: The file.
    :raises InvalidValueError: If the model is not in a folder of the user's, and no file was chosen.
    """
    if chosen is not None:
        return chosen
    model = str(staged.ranker_parameters.get("model", DEFAULT_MODEL))
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise InvalidValueError(
            f"model {model!r} is not in a folder of yours: choose where to write the calibration with --output FILE"
        )
    return folder / FILE_NAME
