"""When the remaining candidates can no longer enter the result: a rule fitted on judged queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.checks import check_number
from rerank_plugin.errors import InvalidValueError

# Thresholds that the fit tries, in expected newcomers: from hardly ever wrong to often wrong.
THRESHOLDS = tuple(float(x) for x in np.geomspace(0.005, 50.0, 60))
# Candidates between two decisions.
STEP = 16


def check_confidence(confidence: Any) -> None:
    """
    Check a confidence.

    :raises InvalidValueError: If it is not between 0 and 1.
    """
    check_number("adaptive_depth", confidence)
    if not 0 < confidence < 1:
        raise InvalidValueError(f"adaptive_depth is a confidence between 0 and 1, got {confidence}: 0.9, for example")


@dataclass(frozen=True)
class DepthModel:
    """
    The probability that an unscored candidate would enter the result.

    A logistic regression on three features: the logit to beat, the logarithm of the candidate's place in the order of
    scoring, and the signal that this order is made of: the first stage's score as a share of the best one, or what early
    exit expects (see `exit_rule`). The probabilities of all remaining candidates add up to the expected
    number of newcomers; `confidences` says at which number to stop.

    :param weights: Of the intercept and the three features.
    :param thresholds: Expected newcomers, ascending.
    :param confidences: For each threshold, the share of the full results kept, mean of the dev queries; descending. What the
        share is of, `fit_depth` was told.
    """

    weights: tuple[float, ...]
    thresholds: tuple[float, ...]
    confidences: tuple[float, ...]

    def at(self, confidence: float) -> "DepthRule":
        """
        Choose the rule for a confidence.

        :param confidence: The share of the full result (all candidates scored) to be kept, between 0 and 1. The top ranks
            are far safer than the last ones.
        :returns: The rule that stops earliest among those that keep at least this share.
        :raises InvalidValueError: If the confidence is not between 0 and 1.
        """
        check_confidence(confidence)
        allowed = [t for t, kept in zip(self.thresholds, self.confidences, strict=True) if kept >= confidence]
        return DepthRule(self.weights, max(allowed, default=0.0))


@dataclass(frozen=True)
class DepthRule:
    """
    Stops when fewer newcomers are expected than a threshold.

    :param weights: See `DepthModel`.
    :param threshold: Expected newcomers at which to stop; 0 never stops.
    """

    weights: tuple[float, ...]
    threshold: float

    def is_enough(self, to_beat: float, scored: int, signals: NDArray[np.float64]) -> bool:
        """
        Return whether to stop.

        :param to_beat: The lowest logit in the result so far.
        :param scored: Number of candidates scored so far, from the first.
        :param signals: The signal of each candidate in the order of scoring, shape (candidates,).
        :returns: Whether the rest can be left unscored.
        """
        ranks = np.arange(scored, len(signals))
        features = _features(np.full(len(ranks), to_beat), ranks, signals)
        return expected(self.weights, features) < self.threshold


def expected(weights: Sequence[float], features: NDArray[np.float64]) -> float:
    """Add up the probabilities of candidates, given their features of shape (candidates, 3)."""
    return float((1.0 / (1.0 + np.exp(-np.clip(features @ np.array(weights[1:]) + weights[0], -50, 50)))).sum())


def shares_of_best(first_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide the first stage's scores, best first, by the best one; 0 where there is none."""
    if len(first_scores) == 0 or not first_scores[0] > 0:
        return np.zeros(len(first_scores))
    shares: NDArray[np.float64] = np.nan_to_num(first_scores / first_scores[0])
    return shares


def _features(to_beat: NDArray[np.float64], ranks: NDArray[np.int64], signals: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([to_beat, np.log1p(ranks), signals[ranks]], axis=1)


def fit_depth(
    logits: Sequence[NDArray[np.float32]],
    signals: Sequence[NDArray[np.float64]],
    *,
    top_k: int,
    gains: Sequence[NDArray[np.float64]] | None = None,
) -> DepthModel | None:
    """
    Fit a depth model on queries whose candidates are all scored.

    :param logits: For each query the logits of its candidates, in the order of scoring.
    :param signals: For each query the signals of its candidates; see `DepthModel`.
    :param top_k: Length of the result.
    :param gains: For each query what its candidates are worth; the confidences are then shares of the discounted cumulative
        gain (Järvelin and Kekäläinen, 2002) of the full result. `None`: shares of its documents, which all count the same.
    :returns: The model; `None` if no candidate after the first chunk ever enters a result, or there are too few candidates.
    """
    from sklearn.linear_model import LogisticRegression

    rows, labels = [], []
    for values, own in zip(logits, signals, strict=True):
        for scored in range(max(STEP, top_k), len(values), STEP):
            to_beat = np.sort(values[:scored])[-top_k]
            ranks = np.arange(scored, len(values))
            rows.append(_features(np.full(len(ranks), float(to_beat)), ranks, own))
            labels.append(values[scored:] > to_beat)
    if not rows or len(set(np.concatenate(labels).tolist())) < 2:
        return None
    model = LogisticRegression(C=1e3, max_iter=1000).fit(np.concatenate(rows), np.concatenate(labels))
    weights = (float(model.intercept_[0]), *(float(w) for w in model.coef_[0]))
    worth = [None] * len(logits) if gains is None else gains
    kept = [
        float(np.mean([_kept(DepthRule(weights, t), *row, top_k) for row in zip(logits, signals, worth, strict=True)]))
        for t in THRESHOLDS
    ]
    # By chance a higher threshold can keep more results; the confidence must not rise with the threshold.
    falling = np.minimum.accumulate(kept)
    return DepthModel(weights, THRESHOLDS, tuple(float(x) for x in falling))


def stopping_point(rule: DepthRule, logits: NDArray[np.float32], signals: NDArray[np.float64], *, top_k: int) -> int:
    """
    Return how many candidates a rule would have scored.

    :param rule: The rule.
    :param logits: Logits of all candidates of a query, in the order of scoring.
    :param signals: Their signals.
    :param top_k: Length of the result.
    :returns: The number scored.
    """
    for scored in range(STEP, len(logits), STEP):
        if scored >= top_k and rule.is_enough(float(np.sort(logits[:scored])[-top_k]), scored, signals):
            return scored
    return len(logits)


def _kept(
    rule: DepthRule,
    logits: NDArray[np.float32],
    signals: NDArray[np.float64],
    gains: NDArray[np.float64] | None,
    top_k: int,
) -> float:
    """Return the share of a query's full result that a rule keeps."""
    scored = stopping_point(rule, logits, signals, top_k=top_k)
    full, early = (np.argsort(-values, kind="stable")[:top_k] for values in (logits, logits[:scored]))
    if gains is None:
        return len(np.intersect1d(full, early)) / len(full)
    discounts = 1 / np.log2(np.arange(2, len(full) + 2))
    best = float(gains[full] @ discounts)
    return float(gains[early] @ discounts[: len(early)]) / best if best > 0 else 1.0
