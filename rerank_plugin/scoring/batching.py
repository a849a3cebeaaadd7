"""Group pairs into padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ShapeGrid:
    """
    The batch shapes that suit a backend.

    :param width_step: Widths are rounded up to a multiple of this.
    :param own_width: A pair is padded to its own rounded length, whatever else is in the batch. Padding adds zeros to sums,
        but it also changes their order, so results in low precision can differ.
    :param batch_cost: Fixed cost of a batch, in tokens. The default was measured in OpenVINO, bf16, with a MiniLM-L6: 25 on
        one machine, about 100 on another.
    """

    width_step: int = 1
    own_width: bool = False
    batch_cost: int = 64

    def width(self, length: int, most: int | None) -> int:
        """Return the padded width for a length; not rounded beyond `most`."""
        rounded = -(-length // self.width_step) * self.width_step
        return max(length, rounded if most is None else min(rounded, most))


@dataclass(frozen=True)
class Batch:
    """
    Pairs that are scored together.

    :param positions: Positions of the pairs, one a row.
    :param width: Tokens to which each pair is padded.
    """

    positions: list[int]
    width: int

    @property
    def tokens(self) -> int:
        """Its tokens, padding included."""
        return len(self.positions) * self.width


def plan_batches(
    lengths: Sequence[int],
    *,
    max_tokens: int,
    max_pairs: int,
    grid: ShapeGrid = ShapeGrid(),
    max_width: int | None = None,
) -> list[Batch]:
    """
    Group pairs of similar length so that no padded batch exceeds the budget and the total cost is lowest.

    Of all ways to cut the pairs, ordered by length, into batches, this picks the one with the fewest padded tokens plus the
    grid's `batch_cost` per batch.

    :param lengths: Token count of each pair.
    :param max_tokens: Token budget of one batch, padding included. A single pair that is longer gets its own batch.
    :param max_pairs: Maximum number of rows of one batch.
    :param grid: The shapes that suit the backend.
    :param max_width: Input length of the model; widths are not rounded beyond it. `None`: no limit.
    :returns: Batches of positions into `lengths`, longest first; every position occurs exactly once.
    """
    # Longest first, so that an out-of-memory error comes with the first batch and not the last.
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    widths = [grid.width(lengths[position], max_width) for position in order]
    begins = _cheapest_cuts(np.array(widths), max_tokens=max_tokens, max_pairs=max_pairs, grid=grid)
    batches: list[Batch] = []
    stop = len(order)
    while stop:
        start = begins[stop]
        batches.append(Batch(order[start:stop], widths[start]))
        stop = start
    return batches[::-1]


def _cheapest_cuts(widths: NDArray[np.int64], *, max_tokens: int, max_pairs: int, grid: ShapeGrid) -> list[int]:
    """Return, for each prefix of the ordered pairs, the start of the last batch in its cheapest partition."""
    count = len(widths)
    rows = np.arange(1, count + 1)
    costs = np.zeros(count + 1, dtype=np.int64)
    begins, first = [0], 0
    for stop in range(1, count + 1):
        # A start that no longer fits never fits again: a batch only grows with `stop`.
        while first < stop - 1 and (
            stop - first > max_pairs
            or (stop - first) * widths[first] > max_tokens
            or (grid.own_width and widths[first] != widths[stop - 1])
        ):
            first += 1
        # From the last start to the first, so that ties go to the smaller batch.
        totals = (costs[first:stop] + grid.batch_cost)[::-1] + rows[: stop - first] * widths[first:stop][::-1]
        best = int(totals.argmin())
        costs[stop] = totals[best]
        begins.append(stop - 1 - best)
    return begins
