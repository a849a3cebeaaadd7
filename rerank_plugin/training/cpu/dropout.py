"""
Dropout that is fast on a CPU: random bytes instead of random floats, and bit masks instead of products.

On a CPU, torch draws one number after the other and converts a boolean mask without vector instructions; both take longer
than the matrix products of a training step. Here the probability of being dropped is rounded to 1/128.
"""

import torch
from torch import nn

STEPS = 128  # seven bits of a random byte: so a difference of two of them still fits into a signed byte
WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class ByteDropout(nn.Dropout):
    """Dropout by random bytes."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """
        Set some values to 0 while training, and scale the others up.

        :param input: Any shape.
        """
        if not self.training or self.p == 0:
            return input
        return input * draw_kept(input.shape, self.p).neg().to(input.dtype).mul_(scale_of(self.p))


def draw_kept(
    shape: torch.Size | tuple[int, ...], probability: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """
    Draw what dropout keeps.

    :param shape: Of what is dropped from.
    :param probability: Of a value being dropped; rounded to 1/128.
    :param generator: Of the random numbers; `None`: torch's own.
    :returns: int8 of that shape: -1 (all bits set) for what is kept, 0 for what is dropped.
    """
    count = torch.Size(shape).numel()
    numbers = torch.empty((count + 7) // 8, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    draws = numbers.view(torch.int8)[:count].bitwise_and_(STEPS - 1)
    # Negative where the draw is not among the lowest ones; the shift spreads the sign over the byte.
    return draws.neg_().add_(_threshold(probability) - 1).bitwise_right_shift_(7).view(shape)


def drop(values: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """
    Set what was dropped to 0.

    :param values: Floats.
    :param kept: What `draw_kept` returned, of the same shape.
    :returns: New values, not scaled.
    """
    whole = WHOLE[values.element_size()]
    return values.contiguous().view(whole).bitwise_and(kept.to(whole)).view(values.dtype)


def scale_of(probability: float) -> float:
    """Return what the kept values are multiplied with, so that their mean stays."""
    return STEPS / (STEPS - _threshold(probability))


def _threshold(probability: float) -> int:
    return min(STEPS - 1, round(probability * STEPS))
