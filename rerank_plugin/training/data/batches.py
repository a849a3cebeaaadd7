"""Batches of pairs or lists of similar length, so that a training step spends little on padding."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from sentence_transformers.base.sampler import DefaultBatchSampler

# Pairs are shuffled first and sorted only within a window of this many batches: the order stays random enough for SGD, and
# the window is large enough to find pairs of similar length (the value of transformers' LengthGroupedSampler).
WINDOW_BATCHES = 50


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """
    Sample random batches whose rows have about the same length.

    The length of a row of single texts is their total length. The passages of a list are padded to the longest of them, so a
    list counts with its longest passage. The same seed and epoch give the same batches, which resuming relies on.

    :param dataset: A `datasets.Dataset` with columns of texts, or of lists of texts, and a column of labels.
    :param batch_size: Rows of a batch.
    :param drop_last: Leave out the last batch if it is not full.
    :param valid_label_columns: Names of the columns with labels instead of texts.
    :param generator: Unused: the order depends on the seed alone.
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
        """Yield the batches of this epoch, each a list of positions in the dataset."""
        rng = random.Random(self.seed + self.epoch)  # noqa: S311 - an order, not a secret
        positions = list(range(len(self._lengths)))
        rng.shuffle(positions)
        batches = [batch for window in self._windows(positions) for batch in self._split(window)]
        rng.shuffle(batches)
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
