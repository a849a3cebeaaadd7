"""Batches of pairs or lists of similar length, so that little of a training step is spent on padding."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler

# Pairs are shuffled first and sorted only inside a window of this many batches: the order of the data stays random enough
# for SGD, and a window is large enough to find pairs of like length (the figure of transformers' LengthGroupedSampler).
WINDOW_BATCHES = 50


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """
    Draw random batches whose rows have about the same length.

    The length of a row of single texts is that of all of them together. The passages of a list are padded to the longest of
    them, so of a list that one counts. The same seed and epoch give the same batches, which resuming relies on.

    :param dataset: A `datasets.Dataset` with columns of texts, or of lists of texts, and a column of labels.
    :param batch_size: Rows of a batch.
    :param drop_last: Leave out the last batch where it is not full.
    :param valid_label_columns: Names of the columns that hold labels and no texts.
    :param generator: Unused: the seed alone decides the order.
    :param seed: Seed of the shuffle.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            range(len(dataset)),
            batch_size,
            drop_last,
            valid_label_columns=valid_label_columns,
            generator=generator,
            seed=seed,
        )
        labels = set(valid_label_columns or ())
        columns = [dataset[name] for name in dataset.column_names if name not in labels]
        self._lengths = [sum(map(_characters, row)) for row in zip(*columns, strict=True)]

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of this epoch, each a list of positions in the data set."""
        shuffle = random.Random(self.seed + self.epoch)  # noqa: S311 - an order, not a secret
        positions = list(range(len(self._lengths)))
        shuffle.shuffle(positions)
        batches = [batch for window in self._windows(positions) for batch in self._split(window)]
        shuffle.shuffle(batches)
        yield from batches

    def _windows(self, positions: Sequence[int]) -> Iterator[list[int]]:
        size = self.batch_size * WINDOW_BATCHES
        for start in range(0, len(positions), size):
            yield sorted(positions[start : start + size], key=lambda i: (-self._lengths[i], i))

    def _split(self, window: Sequence[int]) -> Iterator[list[int]]:
        for start in range(0, len(window), self.batch_size):
            batch = list(window[start : start + self.batch_size])
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


def _characters(text: str | list[str]) -> int:
    return len(text) if isinstance(text, str) else max(map(len, text), default=0)
