"""What each effort of a ranker saves on judged queries, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.evaluation.judged_candidates import JudgedCandidates
from rerank_plugin.evaluation.measures import NDCG, evaluate
from rerank_plugin.scoring.calibration import Calibration
from rerank_plugin.scoring.depth import DepthRule, shares_of_best, stopping_point
from rerank_plugin.scoring.effort import EFFORTS, Effort
from rerank_plugin.scoring.exit_rule import ExitModel, expected_logits, fit_exit


@dataclass(frozen=True)
class EffortEffect:
    """
    The effect of an effort.

    :param effort: The value of the ranker's parameter `effort`.
    :param candidates: Mean number of candidates scored with all layers.
    :param quality: nDCG@10.
    """

    effort: str
    candidates: float
    quality: float


def fit_early_exit_rule(judged: Sequence[JudgedCandidates], calibration: Calibration, *, top_k: int) -> ExitModel | None:
    """
    Fit when scoring may stop after a first look.

    :param judged: The queries.
    :param calibration: Their calibration, for the probabilities.
    :param top_k: Length of the result.
    :returns: The rule; `None` if the model has no early-exit network, or it tells nothing.
    """
    looks = [query.looks for query in judged if query.looks is not None]
    if len(looks) < len(judged):
        return None
    logits = [query.scored.logits for query in judged]
    return fit_exit(logits, looks, [calibration.probabilities(values) for values in logits], top_k=top_k)


def effort_effects(judged: Sequence[JudgedCandidates], calibration: Calibration, *, top_k: int) -> list[EffortEffect]:
    """
    Measure the efforts on queries whose candidates are all scored.

    :param judged: The queries.
    :param calibration: Their calibration.
    :param top_k: Length of the result.
    :returns: The effect of each effort that saves work; none if no rule could be fitted.
    """
    effects = []
    for name, effort in EFFORTS.items():
        if effort is None or (calibration.depth is None and calibration.early_exit is None):
            continue
        scored = {query.query_id: _scored(query, calibration, effort, top_k) for query in judged}
        rankings = {
            query.query_id: query.scored.ordered_by(_only(query.scored.logits, scored[query.query_id])) for query in judged
        }
        quality = evaluate(rankings, {query.query_id: query.judgements for query in judged}, [NDCG]).means[NDCG]
        effects.append(EffortEffect(name, mean(map(len, scored.values())), quality))
    return effects


def _scored(query: JudgedCandidates, calibration: Calibration, effort: Effort, top_k: int) -> NDArray[np.int64]:
    """Return the positions of the candidates that an effort scores with all layers."""
    if calibration.early_exit is not None and query.looks is not None:
        rule = calibration.early_exit.at(effort.gain)
        return _until_enough(query, expected_logits(query.looks, rule.rank_weight), rule.depth, top_k)
    if calibration.depth is not None:
        signals = shares_of_best(query.scored.first_scores)
        count = stopping_point(calibration.depth.at(effort.documents), query.scored.logits, signals, top_k=top_k)
        return np.arange(count)
    return np.arange(len(query.scored))


def _until_enough(query: JudgedCandidates, signals: NDArray[np.float64], rule: DepthRule, top_k: int) -> NDArray[np.int64]:
    order = np.argsort(-signals, kind="stable")
    return order[: stopping_point(rule, query.scored.logits[order], signals[order], top_k=top_k)]


def _only(logits: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the logits, with minus infinity at all other positions."""
    keys = np.full(len(logits), -np.inf)
    keys[positions] = logits[positions]
    return keys
