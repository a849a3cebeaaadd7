"""From logits to scores."""

import numpy as np
from numpy.typing import NDArray


def sigmoid(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """
    Map logits to (0, 1) in float64.

    In float32 the sigmoid is exactly 1.0 from a logit of 17 on, and distinct logits become ties; in float64 only from 37 on.

    :param logits: Raw outputs, any shape.
    :returns: 1 / (1 + exp(-logits)), same shape.
    """
    wide = logits.astype(np.float64)
    # exp of a negative number only: no overflow, and full precision near 0.
    small = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1.0 / (1.0 + small), small / (1.0 + small))
