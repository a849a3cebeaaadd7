"""Passages that are longer than the model reads: windows over them, and one score out of many."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.errors import InvalidValueError

Aggregation = Literal["max", "first", "mean_top_k", "truncate"]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)


@dataclass(frozen=True)
class WindowSettings:
    """
    How passages are read that do not fit into the model.

    :param aggregation: `max`: the score of the best window; `mean_top_k`: the mean of the best `best` windows; `first`: the
        first window alone; `truncate`: no windows, the longer of query and passage is cut, as sentence-transformers does.
    :param overlap: Tokens that neighbouring windows share (the "stride" of tokenizers); at most half of a window is.
    :param best: Windows that `mean_top_k` takes the mean of.
    :raises InvalidValueError: If one of them makes no sense.
    """

    aggregation: str = "max"
    overlap: int = 64
    best: int = 3

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise InvalidValueError(f"unknown window_aggregation {self.aggregation!r}: choose one of {list(AGGREGATIONS)}")
        if self.overlap < 0:
            raise InvalidValueError(f"window_overlap must be at least 0 tokens, got {self.overlap}")
        if self.best < 1:
            raise InvalidValueError(f"window_top_k must be at least 1, got {self.best}")


def cut_windows(length: int, *, room: int, overlap: int) -> list[tuple[int, int]]:
    """
    Lay windows over a text: as few as can be, all of about the same length, so that no short rest is padded.

    :param length: Tokens of the text.
    :param room: Most tokens of a window; at least 1.
    :param overlap: Tokens that neighbours share; at most half of the room is.
    :returns: First token and token after the last of each window; together they cover the text.
    """
    if length <= room:
        return [(0, length)]
    overlap = min(overlap, room // 2)
    count = ceil((length - overlap) / (room - overlap))
    width = ceil((length + (count - 1) * overlap) / count)
    # The starts are spread evenly; rounding must not leave a gap at the end.
    starts = [round(i * (length - width) / (count - 1)) for i in range(count)]
    return [(start, start + width) for start in starts]


def aggregate(logits: Sequence[float] | NDArray[np.float32], settings: WindowSettings) -> tuple[float, int]:
    """
    Make one logit of those of a passage's windows.

    :param logits: One logit a window, in the order of the windows; at least one.
    :param settings: Which way.
    :returns: The logit of the passage, and the position of the best window.
    """
    values = np.asarray(logits, dtype=np.float32)
    best = int(values.argmax())
    if settings.aggregation == "mean_top_k":
        return float(np.sort(values)[-settings.best :].astype(np.float64).mean()), best
    return float(values[best]), best
