"""The table `documents`: texts and meta, one row per document."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from haystack.dataclasses import Document

from rerank_plugin.progress import reporting
from rerank_plugin.store.filtering.filters import RowFilter
from rerank_plugin.store.filtering.lookups import lookups
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.sqlite import places
from rerank_plugin.store.sqlite.changes import Changelog
from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError
from rerank_plugin.store.sqlite.meta_indexes import MetaIndexes
from rerank_plugin.store.sqlite.records import CHECKSUMS, DamagedRecordError, Record, decode, decode_meta
from rerank_plugin.store.sqlite.rows import LISTED, batches, delete_rows
from rerank_plugin.store.sqlite.settings import SettingsTable
from rerank_plugin.store.sqlite.vectors import VectorTable

Entry = tuple[int | None, Record, bytes | None]
"""The row to replace or None for a new one, the document, and its vector."""

_PUT = (
    f"INSERT OR REPLACE INTO documents (row, changed, {', '.join(Record._fields)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (2 + len(Record._fields)))})"
)
_IDS_AT_A_TIME = 500


class DocumentTable:
    """The documents. Methods that write must be called inside a transaction."""

    def __init__(self, connection: Connection, settings: SettingsTable, changes: Changelog, vectors: VectorTable) -> None:
        """
        Nothing is read yet.

        :param connection: The open database.
        :param settings: The settings of the index, and its counters.
        :param changes: The changelog.
        :param vectors: The table of embeddings.
        """
        self._connection = connection
        self._settings = settings
        self._changes = changes
        self._vectors = vectors
        self.meta_indexes = MetaIndexes(connection)
        # False for a read-only index of an earlier format, which lacks these columns.
        self.has_checksums = True

    def put(self, entries: Sequence[Entry]) -> None:
        """
        Store documents.

        :param entries: For each document the row to replace (None for a new one), the record, and the vector.
        """
        change = self._changes.next()
        new = sum(row is None for row, _, _ in entries)
        # Row numbers are never reused, so that a derived index cannot confuse a new document with a deleted one.
        numbers = itertools.count(self._settings.advance("last_row", new) - new + 1)
        numbered = [(next(numbers) if row is None else row, record, vector) for row, record, vector in entries]
        rows = reporting("passages", numbered, len(numbered))
        self._connection.executemany(_PUT, ((row, change, *record) for row, record, _ in rows))
        replaced = [row for row, _, _ in entries if row is not None]
        self._vectors.replace(replaced, [(row, vector) for row, _, vector in numbered if vector is not None])

    def update_meta(self, entries: Sequence[tuple[int, Record]]) -> None:
        """
        Store changed meta, and the id where it has changed.

        :param entries: The rows, and their new records; content and vector stay as they are.
        """
        change = self._changes.next()
        self._connection.executemany(
            "UPDATE documents SET id = ?, meta = ?, plain = ?, has_text = ?, checksum = ?, changed = ? WHERE row = ?",
            ((new.id, new.meta, new.plain, new.has_text, new.checksum, change, row) for row, new in entries),
        )

    def delete(self, rows: Sequence[int]) -> None:
        """
        Delete documents, and where else their passages occur.

        :param rows: Their rows.
        """
        if not rows:
            return
        change = self._changes.next()
        for table in ("documents", *places.NAMES):
            delete_rows(self._connection, table, rows)
        self._vectors.replace(rows, [])
        self._changes.add_deleted(rows, change)

    def delete_all(self, embedding_dim: int | None) -> None:
        """
        Delete every document, and reset the length of the vectors.

        :param embedding_dim: The new length of the vectors, if it is known.
        """
        for table in ("documents", "indexed_files", *places.NAMES):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self._vectors.delete_all()
        self._settings.set("embedding_dim", embedding_dim)
        self._changes.next()
        self._changes.forget_deleted()

    def count(self, *, searchable: bool = False) -> int:
        """
        Return the number of documents.

        :param searchable: Count only those that keyword search can find.
        """
        where = "WHERE has_text" if searchable else ""
        return int(self._connection.execute(f"SELECT count(*) FROM documents {where}").fetchone()[0])  # noqa: S608

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """
        Return the rows of the documents that exist.

        :param ids: Ids of documents.
        """
        rows: dict[str, int] = {}
        for start in range(0, len(ids), _IDS_AT_A_TIME):
            part = ids[start : start + _IDS_AT_A_TIME]
            marks = ", ".join("?" * len(part))
            rows.update(self._connection.execute(f"SELECT id, row FROM documents WHERE id IN ({marks})", part))  # noqa: S608
        return rows

    def rows_after(self, row: int, limit: int) -> list[int]:
        """
        Return the next rows, in ascending order.

        :param row: The row after which to begin; 0 for the first.
        :param limit: Maximum number of rows.
        """
        query = "SELECT row FROM documents WHERE row > ? ORDER BY row LIMIT ?"
        return [found for (found,) in self._connection.execute(query, (row, limit))]

    def ids_of(self, rows: Sequence[int]) -> dict[int, str]:
        """
        Return the ids of the rows that exist.

        :param rows: Rows of documents.
        """
        query = f"SELECT row, id FROM documents WHERE row IN {LISTED}"  # noqa: S608 - our own names
        return {row: name for part in batches(rows) for row, name in self._connection.execute(query, (part,))}

    def read(self, rows: Sequence[int] | None, *, embeddings: bool = True) -> Iterator[tuple[int, Document]]:
        """
        Read documents, in the order in which they were first written.

        :param rows: Rows of the documents; None for all.
        :param embeddings: Whether to read the vectors too.
        :returns: Row and document; rows that do not exist are left out.
        :raises DamagedDatabaseError: If a document is damaged.
        """
        dim = self._settings.embedding_dim if embeddings else None
        for row, columns in self._select(f"{self._query(embeddings)} {{where}} ORDER BY d.row", rows):
            yield row, self._decode(columns, embedding_dim=dim)

    def read_after(self, row: int, count: int) -> list[tuple[int, Document]]:
        """
        Read the documents that follow one, with their embeddings, in the order in which they were first written.

        :param row: The row of the document; 0 for the first.
        :param count: How many.
        :returns: Row and document; fewer than `count` only at the end.
        :raises DamagedDatabaseError: If a document is damaged.
        """
        dim = self._settings.embedding_dim
        query = f"{self._query(embeddings=True)} WHERE d.row > ? ORDER BY d.row LIMIT ?"
        rows = self._connection.execute(query, (row, count)).fetchall()
        return [(number, self._decode(columns, embedding_dim=dim)) for number, *columns in rows]

    def scored(self, scores: Mapping[int, float]) -> list[Document]:
        """
        Read documents without their embeddings, with given scores instead of the stored ones.

        :param scores: Rows of the documents, and the scores; rows that do not exist are left out.
        :raises DamagedDatabaseError: If a document is damaged.
        """
        documents = []
        for row, columns in self._select(f"{self._query()} {{where}}", list(scores)):
            documents.append(self._decode(columns, score=scores[row]))
        return documents

    def metas(self, rows: Sequence[int] | None) -> Iterator[dict[str, Any]]:
        """
        Read the meta of documents.

        :param rows: Rows of the documents; None for all.
        :raises DamagedDatabaseError: If meta is not JSON.
        """
        for row, (meta,) in self._select("SELECT d.row, d.meta FROM documents d {where}", rows):
            yield self._decode_meta(row, meta)

    def matching(self, row_filter: RowFilter) -> npt.NDArray[np.int64]:
        """
        Return the rows that match a filter, in ascending order.

        :param row_filter: The filter.
        """
        looked_up = lookups(row_filter.filters)
        table, parameters = self.meta_indexes.candidate_rows_sql(looked_up)
        candidates = self._connection.execute(
            f"SELECT d.row, d.plain AND ({row_filter.surely}) FROM {table} "  # noqa: S608 - values are parameters
            f"WHERE NOT d.plain OR ({row_filter.maybe}) ORDER BY d.row",
            {**row_filter.parameters, **parameters},
        ).fetchall()
        self.meta_indexes.count_scan(looked_up, self._settings.number("last_row"))
        undecided = [row for row, is_sure in candidates if not is_sure]
        matches = {
            row
            for row, document in self.read(undecided, embeddings=row_filter.needs_embedding)
            if row_filter.matches(document)
        }
        return np.array([row for row, is_sure in candidates if is_sure or row in matches], dtype=np.int64)

    def texts(self, since: int) -> Iterator[tuple[int, str]]:
        """
        Read the text to index for keyword search, of the documents that were written after a change.

        :param since: Number of the change.
        :raises DamagedDatabaseError: If a document is damaged.
        """
        fields = self._settings.read().search_fields or SearchFields()
        query = f"{self._query()} WHERE d.changed > ? AND d.has_text ORDER BY d.row"
        for row, *columns in self._connection.execute(query, (since,)):
            document = self._decode(columns)
            yield row, fields.text(document.meta, document.content)

    def sample_texts(self, count: int) -> Iterator[str]:
        """
        Read the text to index for keyword search, of a sample spread over the whole index.

        :param count: Approximate number of documents.
        """
        fields = self._settings.read().search_fields or SearchFields()
        step = max(1, self.count(searchable=True) // count)
        query = "SELECT row, meta, content FROM documents WHERE row % ? = 0 AND has_text"
        for row, meta, content in self._connection.execute(query, (step,)):
            yield fields.text(self._decode_meta(row, meta), content)

    def _query(self, embeddings: bool = False) -> str:
        """Return the SELECT and FROM clauses of a query for rows, records and vectors."""
        names = (f"d.{name}" if self.has_checksums or name not in CHECKSUMS else "NULL" for name in Record._fields)
        vectors = "v.embedding FROM documents d LEFT JOIN vectors v ON v.row = d.row"
        return f"SELECT d.row, {', '.join(names)}, {vectors if embeddings else 'NULL FROM documents d'}"  # noqa: S608

    def _select(self, query: str, rows: Sequence[int] | None) -> Iterator[tuple[int, list[Any]]]:
        """Yield the row and the other columns of a query, in which `{where}` stands for the condition on rows."""
        if rows is None:
            for row, *columns in self._connection.execute(query.format(where="")):
                yield row, columns
            return
        for part in batches(rows):
            for row, *columns in self._connection.execute(query.format(where=f"WHERE d.row IN {LISTED}"), (part,)):
                yield row, columns

    def _decode(self, columns: Sequence[Any], *, score: float | None = None, embedding_dim: int | None = None) -> Document:
        try:
            return decode(columns, score=score, embedding_dim=embedding_dim)
        except DamagedRecordError as error:
            raise DamagedDatabaseError(self._connection.file, str(error)) from error

    def _decode_meta(self, row: int, text: Any) -> dict[str, Any]:
        try:
            return decode_meta(text)
        except DamagedRecordError as error:
            raise DamagedDatabaseError(self._connection.file, f"row {row}: {error}") from error
