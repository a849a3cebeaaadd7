"""What is asked of the scorer, and what it answers."""

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

    :param start: First token.
    :param stop: Token after the last.
    :param count: Windows of the passage.
    """

    start: int
    stop: int
    count: int


@dataclass(frozen=True)
class PassageScores:
    """
    The scores of a request.

    :param logits: Raw outputs of the model, shape (passages,), float32, in the order of the passages.
    :param windows: For each passage the window that scored best; `None` where it was read whole, or cut.
    """

    logits: NDArray[np.float32]
    windows: list[Window | None]
