"""Fusion of both stages' rankings, for domains where the cross-encoder alone is worse than the first stage."""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Fusion = Literal["none", "rrf", "linear"]
FUSIONS: tuple[str, ...] = get_args(Fusion)
# Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual rank learning methods" (2009).
RRF_CONSTANT = 60


def fuse(
    method: str,
    weight: float,
    logits: NDArray[np.float32],
    *,
    first_ranks: NDArray[np.int64],
    first_scores: NDArray[np.float64],
) -> NDArray[np.float64]:
    """
    Combine the rankings of both stages.

    - `rrf`: weight / (60 + rank in the second stage) + (1 - weight) / (60 + rank in the first stage).
    - `linear`: weight * logit + (1 - weight) * first-stage score, both scaled to 0..1 over the candidates of the query.

    :param method: `rrf` or `linear`.
    :param weight: Of the second stage, 0 to 1.
    :param logits: Of the second stage, shape (candidates,).
    :param first_ranks: Of the first stage, from 1, in the same order.
    :param first_scores: Of the first stage; only `linear` reads them, and they must be finite.
    :returns: Scores, higher is better.
    """
    if method == "linear":
        return weight * _to_unit(logits) + (1 - weight) * _to_unit(first_scores)
    second = np.empty(len(logits))
    second[np.argsort(-logits, kind="stable")] = np.arange(1, len(logits) + 1)
    scores: NDArray[np.float64] = weight / (RRF_CONSTANT + second) + (1 - weight) / (RRF_CONSTANT + first_ranks)
    return scores


def _to_unit(values: NDArray[np.floating]) -> NDArray[np.float64]:
    # Halved: the difference of two finite floats can overflow.
    halves = values.astype(np.float64) / 2
    spread = halves.max() - halves.min()
    return (halves - halves.min()) / spread if spread > 0 else np.ones(len(halves))
