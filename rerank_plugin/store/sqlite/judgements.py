"""
The tables of judgements: the queries, the sets that they belong to, and the history of all grades.

The history is only ever added to. Which grades are in force follows from it; see `judgements.grades`.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError

FIRST_FORMAT = 5
TABLES = (
    "CREATE TABLE judged_queries (row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL UNIQUE, "
    "meta TEXT NOT NULL)",
    "CREATE TABLE query_sets (place INTEGER PRIMARY KEY, name TEXT NOT NULL, query INTEGER NOT NULL, UNIQUE (name, query))",
    """CREATE TABLE judgements (id INTEGER PRIMARY KEY, time TEXT NOT NULL, judge TEXT NOT NULL, query INTEGER NOT NULL,
        document_id TEXT NOT NULL, content BLOB NOT NULL, size INTEGER NOT NULL, grade INTEGER, weak INTEGER NOT NULL,
        undoes INTEGER, shown TEXT NOT NULL, checksum INTEGER NOT NULL)""",
    "CREATE INDEX judgements_query ON judgements (query)",
    "CREATE INDEX judgements_judge ON judgements (judge)",
)
_KEY_BYTES = 16


class ContentKey(NamedTuple):
    """
    What a text is recognised by, wherever it stands.

    :param digest: A hash of the text.
    :param size: Its bytes in UTF-8; 0 for a document without text, which is recognised by its id alone.
    """

    digest: bytes
    size: int

    @classmethod
    def of(cls, content: str | None) -> "ContentKey":
        """Return the key of the content of a document."""
        data = (content or "").encode()
        return cls(sha256(data).digest()[:_KEY_BYTES], len(data))


@dataclass(frozen=True)
class StoredQuery:
    """
    A query to be judged.

    :param row: Its row.
    :param id: Its id in exports.
    :param text: The query.
    :param metadata: Further fields of its line in the file that it came from, such as `lang`.
    """

    row: int
    id: str
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class HistoryEntry:
    """
    One line of the history.

    :param id: Its number; later ones have greater numbers.
    :param time: When it was made, in ISO 8601.
    :param judge: Who made it.
    :param query: The row of the query.
    :param document_id: The id that the document had then.
    :param content: The content that it had then.
    :param grade: 0 to 3; `None` takes back the grade that was in force.
    :param weak: Whether it is a guess from a click, not a judgement.
    :param undoes: The entry that this one takes back as if it had never been made; `None` for a grade.
    :param shown: What the judge saw: pipeline, rank, stage, whether it was blind.
    """

    id: int
    time: str
    judge: str
    query: int
    document_id: str
    content: ContentKey
    grade: int | None
    weak: bool
    undoes: int | None
    shown: str


_COLUMNS = "id, time, judge, query, document_id, content, size, grade, weak, undoes, shown"


class JudgementTable:
    """
    Reads and writes `judged_queries`, `query_sets` and `judgements`.

    :param connection: The open database. Methods that write must be called inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # False for a read-only index of an earlier format: nothing was judged in it.
        self.exists = True

    def queries(self) -> list[StoredQuery]:
        """
        Return all queries, in the order in which they were added.

        :raises DamagedDatabaseError: If one cannot be read.
        """
        if not self.exists:
            return []
        rows = self._connection.execute("SELECT row, id, text, meta FROM judged_queries ORDER BY row")
        return [self._query(*row) for row in rows]

    def find_query(self, *, text: str | None = None, query_id: str | None = None) -> StoredQuery | None:
        """
        Return a query, `None` if there is none.

        :param text: Its text.
        :param query_id: Or its id.
        """
        if not self.exists:
            return None
        row = self._connection.execute(
            "SELECT row, id, text, meta FROM judged_queries WHERE text = ? OR id = ?", (text, query_id)
        ).fetchone()
        return None if row is None else self._query(*row)

    def add_query(self, query_id: str, text: str, meta: str) -> int:
        """
        Store a query that is not there yet.

        :param query_id: Its id, which no other query has.
        :param text: The query.
        :param meta: Its metadata as JSON.
        :returns: Its row.
        """
        statement = "INSERT INTO judged_queries (id, text, meta) VALUES (?, ?, ?)"
        return int(self._connection.execute(statement, (query_id, text, meta)).lastrowid or 0)

    def add_to_set(self, name: str, query: int) -> bool:
        """
        Put a query at the end of a set.

        :param name: Name of the set.
        :param query: The row of the query.
        :returns: Whether it was not in the set before.
        """
        statement = "INSERT OR IGNORE INTO query_sets (name, query) VALUES (?, ?)"
        return self._connection.execute(statement, (name, query)).rowcount > 0

    def sets(self) -> dict[str, list[int]]:
        """Return the rows of the queries of each set, in order."""
        sets: dict[str, list[int]] = {}
        if self.exists:
            for name, query in self._connection.execute("SELECT name, query FROM query_sets ORDER BY place"):
                sets.setdefault(name, []).append(query)
        return sets

    def append(self, entry: HistoryEntry) -> int:
        """
        Add to the history.

        :param entry: The entry; its own id is ignored.
        :returns: Its id.
        """
        values = _values(entry)[1:]
        marks = ", ".join("?" * (len(values) + 1))
        cursor = self._connection.execute(
            f"INSERT INTO judgements ({_COLUMNS.removeprefix('id, ')}, checksum) VALUES ({marks})",  # noqa: S608 - our names
            (*values, _checksum(values)),
        )
        return int(cursor.lastrowid or 0)

    def history(self, *, query: int | None = None, judge: str | None = None) -> Iterator[HistoryEntry]:
        """
        Return the history, oldest first.

        :param query: Only of this query.
        :param judge: Only by this judge.
        :raises DamagedDatabaseError: If an entry is damaged.
        """
        if not self.exists:
            return
        conditions = [name for name, value in (("query = ?", query), ("judge = ?", judge)) if value is not None]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        values = [value for value in (query, judge) if value is not None]
        statement = f"SELECT {_COLUMNS}, checksum FROM judgements {where} ORDER BY id"  # noqa: S608 - our own names
        for *columns, checksum in self._connection.execute(statement, values):
            if _checksum(columns[1:]) != checksum:
                raise DamagedDatabaseError(self._connection.file, f"judgement {columns[0]} is corrupt: its checksum differs")
            number, time, name, of, document_id, digest, size, grade, weak, undoes, shown = columns
            key = ContentKey(digest, size)
            yield HistoryEntry(number, time, name, of, document_id, key, grade, bool(weak), undoes, shown)

    def documents_with(self, keys: Iterable[ContentKey]) -> dict[ContentKey, list[str]]:
        """
        Find documents by what stands in them. This reads the lengths of all documents, and the texts that are as long.

        :param keys: Keys of contents; one of a document without text finds nothing.
        :returns: For each key that is found the ids, sorted.
        """
        wanted = {key for key in keys if key.size}
        found: dict[ContentKey, list[str]] = {}
        if not wanted:
            return found
        statement = (
            "SELECT id, content FROM documents WHERE content IS NOT NULL "
            "AND length(CAST(content AS BLOB)) IN (SELECT value FROM json_each(?))"
        )
        for name, content in self._connection.execute(statement, (json.dumps(sorted({key.size for key in wanted})),)):
            key = ContentKey.of(content)
            if key in wanted:
                found.setdefault(key, []).append(name)
        return {key: sorted(names) for key, names in found.items()}

    def check(self) -> None:
        """
        Check all judgements and queries.

        :raises DamagedDatabaseError: If one is damaged, or has no query.
        """
        rows = {query.row for query in self.queries()}
        for entry in self.history():
            if entry.query not in rows:
                raise DamagedDatabaseError(self._connection.file, f"judgement {entry.id} has no query")

    def _query(self, row: int, query_id: str, text: str, meta: str) -> StoredQuery:
        try:
            metadata: Mapping[str, Any] = json.loads(meta)
            return StoredQuery(row, query_id, text, dict(metadata))
        except (ValueError, TypeError) as error:
            raise DamagedDatabaseError(self._connection.file, f"query {row} cannot be read: {error}") from error


def _values(entry: HistoryEntry) -> list[Any]:
    return [
        *(entry.id, entry.time, entry.judge, entry.query, entry.document_id, *entry.content),
        *(entry.grade, int(entry.weak), entry.undoes, entry.shown),
    ]


def _checksum(values: Iterable[Any]) -> int:
    """Return the CRC-32 of an entry without its number."""
    parts = (value.hex() if isinstance(value, bytes) else str(value) for value in values)
    return zlib.crc32("\0".join(parts).encode("utf-8", "surrogatepass"))
