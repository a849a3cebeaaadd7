"""The interface and the errors shared by the indexes derived from the database."""

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
    """The library behind a derived index failed on its files; the index must be rebuilt."""


class DerivedIndex(Protocol):
    """An index that can be rebuilt from the database at any time."""

    def sync(self, database: Database) -> None:
        """
        Replay the changes made since the last call.

        :param database: The source-of-truth database.
        :raises StoreError: If the files of the index cannot currently be read or written.
        """

    def reset(self) -> None:
        """Discard the index, in memory and on disk; the next `sync` rebuilds it."""

    def search(self, query: Any, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the best rows.

        :param query: A keyword query, or a vector.
        :param limit: Maximum number of hits; fewer are returned only if no more rows match.
        :param allowed: The rows that may be returned, in ascending order; None for all.
        :returns: Hits, best first.
        :raises DamagedIndexError: If the index is damaged.
        """
