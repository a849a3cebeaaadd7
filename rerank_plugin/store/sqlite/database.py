"""
SQLite: the truth. Text, meta, vectors and settings of an index stand in one file; everything else is derived from it.

Every change takes the next number of a counter and marks the rows it touched with it, and deleted rows leave a
tombstone. A derived index that remembers up to which number it is complete can so replay what it has missed, also after
a crash. The caller holds a lock: one Database is used by one thread at a time.
"""

import itertools
import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from haystack.dataclasses import Document

from rerank_plugin.store.filtering.filters import RowFilter
from rerank_plugin.store.filtering.lookups import lookups
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.settings import Settings
from rerank_plugin.store.sqlite import schema
from rerank_plugin.store.sqlite.connection import connect, use_write_ahead_log
from rerank_plugin.store.sqlite.indexed_files import IndexedFilesTable
from rerank_plugin.store.sqlite.meta_indexes import MetaIndexes
from rerank_plugin.store.sqlite.records import Record, decode, decode_vectors

_CHUNK = 4096

_PUT = (
    f"INSERT OR REPLACE INTO documents (row, changed, {', '.join(Record._fields)}) "  # noqa: S608 - our own names
    f"VALUES ({', '.join('?' * (2 + len(Record._fields)))})"
)
_DOCUMENT = "d.row, d.score, d.id, d.content, d.meta, d.blob, d.blob_info, d.sparse_embedding"
_WITHOUT_VECTOR = f"SELECT {_DOCUMENT}, NULL FROM documents d"  # noqa: S608 - our own names
_WITH_VECTOR = (
    f"SELECT {_DOCUMENT}, v.embedding "  # noqa: S608 - our own names
    "FROM documents d LEFT JOIN vectors v ON v.row = d.row"
)
_LISTED = "(SELECT value FROM json_each(?))"


class Database:
    """One SQLite file, or one database in memory."""

    def __init__(self, file: Path | None) -> None:
        """
        Open the file; SQLite creates it if it is missing. Where it cannot be written, it can still be read.

        :param file: The file, `None` for a database in memory.
        :raises IndexFormatError: If it is no index, or a newer version wrote it.
        :raises StoreError: If it cannot be written, and the last writer has not closed it.
        """
        self.file = file
        self._connection = connect(file)
        try:
            self.is_blank = not schema.check(self._connection, file)
            if not self.is_blank and schema.is_outdated(self._connection, file):
                with self.transaction():
                    schema.migrate(self._connection)
            self._meta_indexes = MetaIndexes(self._connection)
            self.indexed_files = IndexedFilesTable(self._connection)
            self._connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
        except BaseException:
            self._connection.close()
            raise

    def initialise(self, settings: Settings) -> None:
        """
        Make the tables of a new index.

        :param settings: What the index is set to.
        """
        use_write_ahead_log(self._connection)
        with self.transaction():
            if self._connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
                for statement in schema.TABLES:
                    self._connection.execute(statement)
                fixed = {"format": schema.FORMAT, "index_id": uuid.uuid4().hex, "counter": 0, "last_row": 0, "reset": 0}
                for name, value in {**fixed, **settings.to_rows()}.items():
                    self.set(name, value)
        self.is_blank = False

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do everything inside or nothing; other processes wait before they write."""
        with self._begin("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let every read inside see the same state, whatever other processes write meanwhile."""
        if self._connection.in_transaction:
            return (yield)
        self._meta_indexes.make_wanted()
        with self._begin("BEGIN"):
            yield

    @contextmanager
    def _begin(self, statement: str) -> Iterator[None]:
        self._connection.execute(statement)
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def setting(self, name: str) -> Any:
        """
        Return a value of the table `settings`, None if it is missing.

        :param name: Its name.
        """
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set(self, name: str, value: Any) -> None:
        """
        Store a value in the table `settings`.

        :param name: Its name.
        :param value: The value.
        """
        self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def settings(self) -> Settings:
        """Return what the index is set to."""
        return Settings.from_rows(dict(self._connection.execute("SELECT name, value FROM settings")))

    @property
    def counter(self) -> int:
        """Number of the last change."""
        return int(self.setting("counter"))

    def replayable(self, since: int) -> int:
        """
        Return the number after which a derived index has to replay: 0 if it has to start from nothing.

        :param since: Number up to which the index is complete.
        """
        return since if self.setting("reset") <= since <= self.counter else 0

    def _next(self, name: str, step: int = 1) -> int:
        value = int(self.setting(name)) + step
        self.set(name, value)
        return value

    def put(self, entries: Sequence[tuple[int | None, Record, bytes | None]]) -> None:
        """
        Store documents; belongs into a transaction.

        :param entries: The row to replace or None for a new one, the document, and its vector.
        """
        change = self._next("counter")
        new = sum(row is None for row, _, _ in entries)
        # A row number is never used again, so that a derived index cannot take a new document for a deleted one.
        numbers = itertools.count(self._next("last_row", new) - new + 1)
        placed = [(next(numbers) if row is None else row, record, vector) for row, record, vector in entries]
        self._connection.executemany(_PUT, ((row, change, *record) for row, record, _ in placed))
        self._remove("vectors", [row for row, _, _ in entries if row is not None])
        vectors = ((row, vector) for row, _, vector in placed if vector is not None)
        self._connection.executemany("INSERT INTO vectors VALUES (?, ?)", vectors)

    def update_meta(self, entries: Sequence[tuple[int, Record]]) -> None:
        """
        Store changed meta; belongs into a transaction.

        :param entries: The rows, and their documents as they shall be.
        """
        change = self._next("counter")
        self._connection.executemany(
            "UPDATE documents SET meta = ?, plain = ?, has_text = ?, changed = ? WHERE row = ?",
            ((record.meta, record.plain, record.has_text, change, row) for row, record in entries),
        )

    def delete(self, rows: Sequence[int]) -> None:
        """
        Delete documents; belongs into a transaction.

        :param rows: Their rows.
        """
        if not rows:
            return
        change = self._next("counter")
        self._remove("documents", rows)
        self._remove("vectors", rows)
        self._connection.executemany("INSERT INTO deleted VALUES (?, ?)", ((row, change) for row in rows))

    def delete_all(self, embedding_dim: int | None) -> None:
        """
        Delete every document, and forget the length of the vectors; belongs into a transaction.

        :param embedding_dim: Length of the vectors from now on, if it is known.
        """
        for table in ("documents", "vectors", "deleted", "indexed_files"):
            self._connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        self.set("embedding_dim", embedding_dim)
        self.set("reset", self._next("counter"))

    def forget_deleted(self) -> None:
        """Drop the tombstones; a derived index that has not seen them starts from nothing. Belongs into a transaction."""
        self._connection.execute("DELETE FROM deleted")
        self.set("reset", self.counter)

    def vacuum(self) -> None:
        """Rewrite the file without its gaps, and cut the write-ahead log; not inside a transaction."""
        self._connection.execute("VACUUM")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, file: Path) -> None:
        """
        Write a copy of the database as it is now.

        :param file: Where to; does not exist yet.
        """
        target = sqlite3.connect(file)
        try:
            self._connection.backup(target)
            # The copy is the index of a folder of its own: files derived from the original must not be taken for its own.
            target.execute("UPDATE settings SET value = ? WHERE name = 'index_id'", (uuid.uuid4().hex,))
            target.commit()
        finally:
            target.close()

    def _remove(self, table: str, rows: Sequence[int]) -> None:
        self._connection.execute(f"DELETE FROM {table} WHERE row IN {_LISTED}", (json.dumps(rows),))  # noqa: S608

    def count(self, *, searchable: bool = False) -> int:
        """
        Return the number of documents.

        :param searchable: Count only those that keyword search can find.
        """
        where = "WHERE has_text" if searchable else ""
        return int(self._connection.execute(f"SELECT count(*) FROM documents {where}").fetchone()[0])  # noqa: S608

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """
        Return the rows of those documents that exist.

        :param ids: Ids of documents.
        """
        found: dict[str, int] = {}
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            marks = ", ".join("?" * len(part))
            found.update(self._connection.execute(f"SELECT id, row FROM documents WHERE id IN ({marks})", part))  # noqa: S608
        return found

    def ids_of(self, rows: Sequence[int]) -> dict[int, str]:
        """
        Return the ids of those rows that exist.

        :param rows: Rows of documents.
        """
        query = f"SELECT row, id FROM documents WHERE row IN {_LISTED}"  # noqa: S608
        return dict(self._connection.execute(query, (json.dumps(rows),)))

    def documents(self, rows: Sequence[int] | None, *, embeddings: bool = True) -> Iterator[tuple[int, Document]]:
        """
        Read documents, in the order in which they were first written.

        :param rows: Rows of the documents; None for all.
        :param embeddings: Whether to read the vectors too.
        :returns: Row and document; rows that do not exist are left out.
        """
        dim = self.setting("embedding_dim") if embeddings else None
        select = _WITH_VECTOR if embeddings else _WITHOUT_VECTOR
        for where, parameters in _chunks(rows):
            for row, score, *columns in self._connection.execute(f"{select} {where} ORDER BY d.row", parameters):
                yield row, decode(columns, score, dim)

    def scored_documents(self, scores: Mapping[int, float]) -> list[Document]:
        """
        Read documents without their embeddings, with another score than the one they were written with.

        :param scores: Rows of the documents, and the scores; rows that do not exist are left out.
        """
        found: list[Document] = []
        for where, parameters in _chunks(list(scores)):
            for row, _, *columns in self._connection.execute(f"{_WITHOUT_VECTOR} {where}", parameters):
                found.append(decode(columns, scores[row], None))
        return found

    def metas(self, rows: Sequence[int] | None) -> Iterator[dict[str, Any]]:
        """
        Read the meta of documents.

        :param rows: Rows of the documents; None for all.
        """
        for where, parameters in _chunks(rows):
            for (meta,) in self._connection.execute(f"SELECT d.meta FROM documents d {where}", parameters):  # noqa: S608
                yield json.loads(meta)

    def matching(self, row_filter: RowFilter) -> npt.NDArray[np.int64]:
        """
        Return the rows that match a filter, in ascending order.

        :param row_filter: The filter.
        """
        looked_up = lookups(row_filter.filters)
        table, parameters = self._meta_indexes.narrowed(looked_up)
        found = self._connection.execute(
            f"SELECT d.row, d.plain AND ({row_filter.surely}) FROM {table} "  # noqa: S608 - values are parameters
            f"WHERE NOT d.plain OR ({row_filter.maybe}) ORDER BY d.row",
            {**row_filter.parameters, **parameters},
        ).fetchall()
        self._meta_indexes.count_scan(looked_up, int(self.setting("last_row")))
        doubtful = [row for row, sure in found if not sure]
        passed = {
            row
            for row, document in self.documents(doubtful, embeddings=row_filter.needs_embedding)
            if row_filter.matches(document)
        }
        return np.array([row for row, sure in found if sure or row in passed], dtype=np.int64)

    def changed_rows(self, since: int) -> list[int]:
        """
        Return the rows that were written or deleted after a change.

        :param since: Number of the change.
        """
        query = "SELECT row FROM documents WHERE changed > ? UNION ALL SELECT row FROM deleted WHERE changed > ?"
        return [row for (row,) in self._connection.execute(query, (since, since))]

    def texts(self, since: int) -> Iterator[tuple[int, str]]:
        """
        Read what keyword search looks at, of the documents that were written after a change.

        :param since: Number of the change.
        """
        fields = self.settings().search_fields or SearchFields()
        query = "SELECT row, meta, content FROM documents WHERE changed > ? AND has_text ORDER BY row"
        for row, meta, content in self._connection.execute(query, (since,)):
            yield row, fields.text(json.loads(meta), content)

    def sample_texts(self, count: int) -> Iterator[str]:
        """
        Read what keyword search looks at, of some documents from all over the index.

        :param count: About how many.
        """
        fields = self.settings().search_fields or SearchFields()
        step = max(1, self.count(searchable=True) // count)
        query = "SELECT meta, content FROM documents WHERE row % ? = 0 AND has_text"
        for meta, content in self._connection.execute(query, (step,)):
            yield fields.text(json.loads(meta), content)

    def vectors(self, since: int) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """
        Read the vectors of the documents that were written after a change, in portions.

        :param since: Number of the change.
        :returns: Rows, and a matrix with one line per row.
        """
        if since == 0:
            yield from self.vectors_of(None)
            return
        query = (
            "SELECT v.row, v.embedding FROM vectors v JOIN documents d ON d.row = v.row WHERE d.changed > ? ORDER BY v.row"
        )
        yield from decode_vectors(self._connection.execute(query, (since,)), self.setting("embedding_dim"))

    def vectors_of(self, rows: Sequence[int] | None) -> Iterator[tuple[list[int], npt.NDArray[np.float32]]]:
        """
        Read vectors, in portions and in the order of the rows.

        :param rows: Rows of the documents; None for all. Those without a vector are left out.
        :returns: Rows, and a matrix with one line per row.
        """
        for where, parameters in _chunks(rows):
            query = f"SELECT d.row, d.embedding FROM vectors d {where} ORDER BY d.row"  # noqa: S608 - our own names
            yield from decode_vectors(self._connection.execute(query, parameters), self.setting("embedding_dim"))

    def vector_rows(self) -> npt.NDArray[np.int64]:
        """Return the rows that have a vector, in ascending order."""
        rows = self._connection.execute("SELECT row FROM vectors INDEXED BY vectors_row ORDER BY row")
        return np.fromiter((row for (row,) in rows), dtype=np.int64)

    def count_vectors(self) -> int:
        """Return the number of vectors."""
        return int(self._connection.execute("SELECT count(*) FROM vectors INDEXED BY vectors_row").fetchone()[0])


def _chunks(rows: Sequence[int] | None) -> Iterator[tuple[str, tuple[str, ...]]]:
    if rows is None:
        yield "", ()
        return
    for start in range(0, len(rows), _CHUNK):
        yield f"WHERE d.row IN {_LISTED}", (json.dumps(list(rows[start : start + _CHUNK])),)
