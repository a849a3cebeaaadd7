"""
The changelog: which rows were written or deleted by which change.

Every change takes the next number of a counter and stores it with the rows it wrote; a deleted row leaves a tombstone. A
derived index that records the number up to which it is complete can therefore replay later changes, also after a crash.
"""

import uuid
from collections.abc import Sequence

from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.settings import SettingsTable

# The counter of changes of the judgements.
_JUDGEMENTS = "judgement_changes"


class Changelog:
    """The counter of changes, and the table `deleted` with the tombstones."""

    def __init__(self, connection: Connection, settings: SettingsTable) -> None:
        """
        Nothing is read yet.

        :param connection: The open database.
        :param settings: Where the counter is stored.
        """
        self._connection = connection
        self._settings = settings

    @property
    def counter(self) -> int:
        """Number of the last change of the documents."""
        return self._settings.number("counter")

    @property
    def total(self) -> int:
        """Number of all changes: of the documents, and of the judgements, which no derived index has to replay."""
        return self.counter + int(self._settings.get(_JUDGEMENTS) or 0)

    @property
    def revision(self) -> str:
        """What tells the last change of documents from every other: copies of an index can go on with the same numbers."""
        return str(self._settings.get("revision") or "")

    def next(self) -> int:
        """Return the number of a new change; belongs into a transaction."""
        self._settings.set("revision", uuid.uuid4().hex)
        return self._settings.advance("counter")

    def next_judgement(self) -> None:
        """Count a change of the judgements; belongs into a transaction."""
        self._settings.set(_JUDGEMENTS, int(self._settings.get(_JUDGEMENTS) or 0) + 1)

    def replayable(self, since: int) -> int:
        """
        Return the number of the change after which a derived index must replay; 0 if it must be rebuilt.

        :param since: Number of the change up to which the index is complete.
        """
        return since if self._settings.number("reset") <= since <= self.counter else 0

    def rows_since(self, since: int) -> list[int]:
        """
        Return the rows that were written or deleted after a change.

        :param since: Number of the change.
        """
        query = "SELECT row FROM documents WHERE changed > ? UNION ALL SELECT row FROM deleted WHERE changed > ?"
        return [row for (row,) in self._connection.execute(query, (since, since))]

    def add_deleted(self, rows: Sequence[int], change: int) -> None:
        """
        Write tombstones. Call inside a transaction.

        :param rows: The rows that were deleted.
        :param change: Number of the change.
        """
        self._connection.executemany("INSERT INTO deleted VALUES (?, ?)", ((row, change) for row in rows))

    def forget_deleted(self) -> None:
        """Drop the tombstones; derived indexes that have not replayed them are rebuilt. Call inside a transaction."""
        self._connection.execute("DELETE FROM deleted")
        self._settings.set("reset", self.counter)
