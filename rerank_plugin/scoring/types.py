"""Requests to the scorer, and its results."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoringRequest:
    """
    Passages to be scored against a query.

    :param query: The query.
    :param passages: The passages, in any order; may be empty.
    """

    query: str
    passages: Sequence[str]


@dataclass(frozen=True)
class Window:
    """
    The part of a long passage that decided its score.

    :param start: First token, counted from `origin`.
    :param stop: Token after the last.
    :param origin: Character offset from which tokens are counted: very long passages are read in sections.
    """

    start: int
    stop: int
    origin: int = 0


@dataclass(frozen=True)
class PassageScores:
    """
    The scores of a request.

    :param logits: Raw outputs of the model, shape (passages,), float32, in the order of the passages; `nan` where a deadline
        left a passage unscored.
    :param windows: For each passage the window that scored best; `None` where it was read whole, or truncated.
    :param partly_read: Shape (passages,): whether the deadline came between the windows of a passage. Its score is then that
        of the windows read so far.
    """

    logits: NDArray[np.float32]
    windows: list[Window | None]
    partly_read: NDArray[np.bool_]
