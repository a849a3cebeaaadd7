"""
Dropout that is fast on a CPU: random bytes instead of random floats, and bit masks instead of products.

On a CPU, torch draws numbers one by one and converts boolean masks without vector instructions; both take longer than the
matrix products of a training step. The drop probability is rounded to 1/128.
"""

import torch
from torch import nn

LEVELS = 128  # seven bits of a random byte, so that the difference of two such numbers fits into a signed byte
INTEGER_OF_SIZE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class ByteDropout(nn.Dropout):
    """Dropout by random bytes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """
        In training, set random values to 0 and scale up the others.

        :param input: Values of any shape.
        """
        if not self.training or self.p == 0:
            return input
        return input * kept_mask(input.shape, self.p).neg().to(input.dtype).mul_(scale_of(self.p))


def kept_mask(
    shape: torch.Size | tuple[int, ...], probability: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """
    Draw the mask of the values that dropout keeps.

    :param shape: Shape of the values.
    :param probability: Probability of dropping a value; rounded to 1/128.
    :param generator: Random number generator; `None`: torch's default.
    :returns: int8 of that shape: -1 (all bits set) for kept values, 0 for dropped ones.
    """
    count = torch.Size(shape).numel()
    numbers = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    levels = numbers.view(torch.int8)[:count].bitwise_and_(LEVELS - 1)
    # Negative where the level is at or above the threshold; the shift copies the sign to all bits of the byte.
    return levels.neg_().add_(_threshold(probability) - 1).bitwise_right_shift_(7).view(shape)


def drop(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """
    Set dropped values to 0.

    :param values: Floats.
    :param kept: A mask from `kept_mask`, of the same shape.
    :returns: New values, not scaled.
    """
    integer = INTEGER_OF_SIZE[values.element_size()]
    return values.contiguous().view(integer).bitwise_and(kept.to(integer)).view(values.dtype)


def scale_of(probability: float) -> float:
    """Return the factor for kept values that preserves the mean."""
    return LEVELS / (LEVELS - _threshold(probability))


def _threshold(probability: float) -> int:
    return min(LEVELS - 1, round(probability * LEVELS))
