"""Fusion of both stages' rankings, for domains where the cross-encoder alone is worse than the first stage."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Fusion = Literal["none", "rrf", "linear", "log_linear"]
FUSIONS: tuple[str, ...] = get_args(Fusion)
# Those that read the first stage's scores, and not only its order.
SCORE_FUSIONS = ("linear", "log_linear")
# Logarithms have no end: a score below this share of the best one, also a negative one, counts as that.
LEAST_SHARE = 0.001
# A quotient by less would overflow.
NO_WEIGHT = 1e-9
# Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods" (2009).
RRF_CONSTANT = 60


def fuse(
    method: str,
    weight: float,
    logits: NDArray[np.floating],
    *,
    first_ranks: NDArray[np.int64],
    first_scores: NDArray[np.float64],
) -> NDArray[np.float64]:
    """
    Combine the rankings of both stages.

    - `rrf`: weight / (60 + rank in the second stage) + (1 - weight) / (60 + rank in the first stage).
    - `linear`: weight * logit + (1 - weight) * first-stage score, both scaled to 0..1 over the candidates of the query.
    - `log_linear`: logit + (1 - weight) / weight * ln(first-stage score / the best one).
      This is the logarithmic opinion pool (Genest and Zidek, "Combining probability distributions", 1986). How sure the
      second stage is decides: where its logits are far apart, the first stage changes nothing, and where they are close, it
      chooses. The result is a logit: that of the second stage, lowered by what the first stage holds against a candidate;
      with a weight of 0, the logarithm. For scores that are 0 where nothing was found, such as those of BM25, cosines and
      reciprocal ranks: one below a thousandth of the best counts as that.

    :param method: `rrf`, `linear` or `log_linear`.
    :param weight: Of the second stage, 0 to 1.
    :param logits: Of the second stage, shape (candidates,).
    :param first_ranks: Of the first stage, from 1, in the same order.
    :param first_scores: Of the first stage; only `linear` and `log_linear` read them, and they must be finite.
    :returns: Values to order by, higher is better, shape (candidates,).
    """
    if method == "linear":
        return weight * _to_unit(logits) + (1 - weight) * _to_unit(first_scores)
    if method == "log_linear":
        best = first_scores.max()
        shares = np.maximum(first_scores, LEAST_SHARE * best) / best if best > 0 else np.ones(len(first_scores))
        return logits + (1 - weight) / weight * np.log(shares) if weight > NO_WEIGHT else np.log(shares)
    second = np.empty(len(logits))
    second[np.argsort(-logits, kind="stable")] = np.arange(1, len(logits) + 1)
    scores: NDArray[np.float64] = weight / (RRF_CONSTANT + second) + (1 - weight) / (RRF_CONSTANT + first_ranks)
    return scores


def fusions_of(first_scores: NDArray[np.float64]) -> tuple[str, ...]:
    """
    Return the fusions that are possible with given scores of a first stage.

    :param first_scores: Of the first stage, any shape; `nan` where there is none.
    """
    return ("rrf", *SCORE_FUSIONS) if np.isfinite(first_scores).all() else ("rrf",)


def _to_unit(values: NDArray[np.floating]) -> NDArray[np.float64]:
    # Halved: the difference of two finite floats can overflow.
    halves = values.astype(np.float64) / 2
    spread = halves.max() - halves.min()
    return (halves - halves.min()) / spread if spread > 0 else np.ones(len(halves))
