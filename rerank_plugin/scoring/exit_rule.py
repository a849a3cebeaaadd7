"""Which candidates the whole model scores after a first look, and when it may stop: fitted on queries scored in full."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.scoring.depth import DepthModel, DepthRule, fit_depth

# Tokens of a pair that the early-exit network reads at once, and is trained on.
FIRST_LOOK_TOKENS = 192


@dataclass(frozen=True)
class ExitModel:
    """
    What the early-exit network says of the whole model's logits.

    The expected logit, up to a constant, is the early-exit network's one minus `rank_weight` times the logarithm of the rank
    in the first stage. Candidates are scored in this order, the highest first.

    :param rank_weight: Weight of the first stage's rank.
    :param depth: When the rest can no longer enter the result; its signal is the expected logit, and its confidences are
        shares of the discounted cumulative gain of the full result, with probabilities as gains.
    """

    rank_weight: float
    depth: DepthModel

    def at(self, confidence: float) -> "ExitRule":
        """
        Choose the rule for a confidence. See `DepthModel.at`.

        :raises InvalidValueError: If the confidence is not between 0 and 1.
        """
        return ExitRule(self.rank_weight, self.depth.at(confidence))


@dataclass(frozen=True)
class ExitRule:
    """
    The order of scoring, and when to stop.

    :param rank_weight: See `ExitModel`.
    :param depth: Stops when fewer newcomers are expected than a threshold.
    """

    rank_weight: float
    depth: DepthRule


def expected_logits(looks: NDArray[np.float32], rank_weight: float) -> NDArray[np.float64]:
    """
    Return what the whole model is expected to say, up to a constant.

    :param looks: Logits of the early-exit network, in first-stage order.
    :param rank_weight: See `ExitModel`.
    """
    return looks.astype(np.float64) - rank_weight * np.log1p(np.arange(len(looks)))


def fit_exit(
    logits: Sequence[NDArray[np.float32]],
    looks: Sequence[NDArray[np.float32]],
    probabilities: Sequence[NDArray[np.float64]],
    *,
    top_k: int,
) -> ExitModel | None:
    """
    Fit the order and the stopping rule on queries whose candidates are all scored by both networks.

    :param logits: For each query the whole model's logits of its candidates, in first-stage order.
    :param looks: For each query the early-exit network's logits.
    :param probabilities: For each query the calibrated probabilities of its candidates: what each is worth.
    :param top_k: Length of the result.
    :returns: The model; `None` if the early-exit network does not tell relevant candidates, or there are too few.
    """
    # Differences from a query's mean: some queries have high logits in both networks, which says nothing about the order.
    ranks = [np.log1p(np.arange(len(values))) for values in logits]
    target, seen, places = (
        np.concatenate([np.asarray(part, dtype=np.float64) - np.mean(part) for part in parts] or [np.empty(0)])
        for parts in (logits, looks, ranks)
    )
    if len(target) < 2:
        return None
    (slope, by_rank), *_ = np.linalg.lstsq(np.stack([seen, places], axis=1), target)
    if slope <= 0:
        return None
    rank_weight = max(0.0, float(-by_rank / slope))
    ordered_logits, ordered_signals, gains = [], [], []
    for values, own, worth in zip(logits, looks, probabilities, strict=True):
        signals = expected_logits(own, rank_weight)
        order = np.argsort(-signals, kind="stable")
        ordered_logits.append(values[order])
        ordered_signals.append(signals[order])
        gains.append(worth[order])
    depth = fit_depth(ordered_logits, ordered_signals, top_k=top_k, gains=gains)
    return None if depth is None else ExitModel(rank_weight, depth)
