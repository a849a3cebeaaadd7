"""What the indexes that are derived from the database have in common."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from rerank_plugin.errors import StoreError
from rerank_plugin.store.sqlite.database import Database

Rows = npt.NDArray[np.int64]


class Hit(NamedTuple):
    """A row and its score; a higher score is better."""

    row: int
    score: float


class DamagedIndexError(StoreError):
    """The library behind a derived index failed on the index; a fresh one has to be built."""


class DerivedIndex(Protocol):
    """An index that can be built again from the database at any time."""

    def sync(self, database: Database) -> None:
        """
        Replay what was written since the last call.

        :param database: The source of truth.
        :raises StoreError: If the files of the index cannot be read or written at the moment.
        """

    def reset(self) -> None:
        """Forget everything, also what is on disk; the next `sync` starts from nothing."""

    def search(self, query: Any, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the best rows.

        :param query: A text, or a vector.
        :param limit: How many; fewer come back only if no more match.
        :param allowed: The rows that may be returned, in ascending order; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If the index is damaged.
        """
