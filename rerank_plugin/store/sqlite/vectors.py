"""The table `vectors`: the embeddings, one for each document that has one."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError
from rerank_plugin.store.sqlite.records import DamagedRecordError, decode_vectors
from rerank_plugin.store.sqlite.rows import LISTED, batches, delete_rows
from rerank_plugin.store.sqlite.settings import SettingsTable

VectorBatch = tuple[list[int], npt.NDArray[np.float32]]
"""Rows, and a matrix of shape (rows, dimension)."""


class VectorTable:
    """The vectors by row."""

    def __init__(self, connection: Connection, settings: SettingsTable) -> None:
        """
        Nothing is read yet.

        :param connection: The open database.
        :param settings: Where the length of the vectors is stored.
        """
        self._connection = connection
        self._settings = settings

    def replace(self, old: Sequence[int], new: Iterable[tuple[int, bytes]]) -> None:
        """
        Replace vectors. Call inside a transaction.

        :param old: Rows whose vectors to delete, if they have one.
        :param new: Rows and vectors to add.
        """
        delete_rows(self._connection, "vectors", old)
        self._connection.executemany("INSERT INTO vectors VALUES (?, ?)", new)

    def delete_all(self) -> None:
        """Delete every vector. Call inside a transaction."""
        self._connection.execute("DELETE FROM vectors")

    def since(self, change: int) -> Iterator[VectorBatch]:
        """
        Read the vectors of the documents that were written after a change, in batches.

        :param change: Number of the change; 0 for all vectors.
        """
        if change == 0:
            yield from self.of(None)
            return
        query = (
            "SELECT v.row, v.embedding FROM vectors v JOIN documents d ON d.row = v.row WHERE d.changed > ? ORDER BY v.row"
        )
        yield from self._read(query, (change,))

    def of(self, rows: Sequence[int] | None) -> Iterator[VectorBatch]:
        """
        Read vectors in batches, in the order of the rows.

        :param rows: Rows of the documents; None for all. Those without a vector are left out.
        """
        if rows is None:
            yield from self._read("SELECT row, embedding FROM vectors ORDER BY row", ())
            return
        for part in batches(rows):
            query = f"SELECT row, embedding FROM vectors WHERE row IN {LISTED} ORDER BY row"  # noqa: S608 - our own names
            yield from self._read(query, (part,))

    def _read(self, query: str, parameters: tuple[int | str, ...]) -> Iterator[VectorBatch]:
        try:
            yield from decode_vectors(self._connection.execute(query, parameters), self._settings.embedding_dim)
        except DamagedRecordError as error:
            raise DamagedDatabaseError(self._connection.file, str(error)) from error

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the rows that have a vector, in ascending order."""
        cursor = self._connection.execute("SELECT row FROM vectors INDEXED BY vectors_row ORDER BY row")
        return np.fromiter((row for (row,) in cursor), dtype=np.int64)

    def count(self) -> int:
        """Return the number of vectors."""
        return int(self._connection.execute("SELECT count(*) FROM vectors INDEXED BY vectors_row").fetchone()[0])
