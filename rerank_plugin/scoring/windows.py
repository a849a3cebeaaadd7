"""Passages longer than the model's input: cut into windows, whose scores are aggregated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.checks import check_choice, check_count

Aggregation = Literal["max", "first", "mean_top_k", "truncate"]
AGGREGATIONS: tuple[str, ...] = get_args(Aggregation)
DEFAULT_OVERLAP = 64
# Characters per token, to turn an overlap in tokens into characters; English has 4 to 5.
TOKEN_CHARACTERS = 6


@dataclass(frozen=True)
class WindowSettings:
    """
    How passages longer than the model's input are read.

    :param aggregation: `max`: the score of the best window; `mean_top_k`: the mean of the best `best` windows; `first`: the
        first window alone; `truncate`: no windows, the longer of query and passage is cut, as in sentence-transformers.
    :param overlap: Tokens that neighbouring windows share (the "stride" of tokenizers); limited to half a window.
    :param best: Number of windows that `mean_top_k` averages.
    :raises InvalidValueError: If a value is out of range.
    """

    aggregation: str = "max"
    overlap: int = DEFAULT_OVERLAP
    best: int = 3

    def __post_init__(self) -> None:
        check_choice("window_aggregation", self.aggregation, AGGREGATIONS)
        check_count("window_overlap", self.overlap, least=0)
        check_count("window_top_k", self.best)


def cut_windows(length: int, *, room: int, overlap: int) -> list[tuple[int, int]]:
    """
    Cut a text into windows: as few as possible, all of about the same length, so that no short remainder is padded.

    :param length: Tokens of the text.
    :param room: Maximum tokens of a window; at least 1.
    :param overlap: Tokens that neighbours share; limited to half of the room.
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


def section_stop(text: str, start: int, *, size: int) -> int:
    """
    Find the end of a section: before a space in its second half if there is one, as no token spans a space.

    :param text: The whole text.
    :param start: First character of the section.
    :param size: Maximum characters of a section.
    :returns: Character after the last.
    """
    if len(text) - start <= size:
        return len(text)
    space = text.rfind(" ", start + size // 2, start + size)
    return start + size if space < 0 else space


def cut_sections(text: str, *, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """
    Cut a text that is too long to be tokenised in one go into sections. Most texts are one section.

    :param text: The text.
    :param size: Maximum characters of a section.
    :param overlap: Tokens that neighbours share, approximately; limited to a quarter of a section.
    :returns: First character and character after the last of each section; together they cover the text.
    """
    start, shared = 0, min(TOKEN_CHARACTERS * overlap, size // 4)
    while True:
        stop = section_stop(text, start, size=size)
        yield start, stop
        if stop == len(text):
            return
        space = text.find(" ", stop - shared, stop)
        start = stop - shared if space < 0 else space


def aggregate(logits: Sequence[float] | NDArray[np.float32], settings: WindowSettings) -> tuple[float, int]:
    """
    Aggregate the logits of a passage's windows into one.

    :param logits: One logit per window, in the order of the windows; at least one.
    :param settings: The aggregation.
    :returns: The logit of the passage, and the position of the best window.
    """
    values = np.asarray(logits, dtype=np.float32)
    best = int(values.argmax())
    if settings.aggregation == "mean_top_k":
        return float(np.sort(values)[-settings.best :].astype(np.float64).mean()), best
    return float(values[best]), best
