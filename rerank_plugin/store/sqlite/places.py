"""
The tables of passages that are stored once although they occur several times.

The document of such a passage has the id and meta of its first place. `passage_places` holds the other places, each with the
id and meta that the document has there. `passage_keys` finds a stored passage by its text.
"""

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rerank_plugin.checks import shown
from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError
from rerank_plugin.store.sqlite.rows import LISTED, batches

FIRST_FORMAT = 4
# Both have a column `row`: the row of the document that stores the passage.
NAMES = ("passage_places", "passage_keys")
# The key of a place is its order: by path, page and section, then by its position in the section.
TABLES = (
    """CREATE TABLE passage_places (row INTEGER NOT NULL, source TEXT NOT NULL, page REAL NOT NULL, section TEXT NOT NULL,
        position REAL NOT NULL, id TEXT NOT NULL, fingerprint TEXT NOT NULL, listed TEXT NOT NULL, meta TEXT NOT NULL,
        checksum INTEGER NOT NULL, PRIMARY KEY (row, source, page, section, position, id)) WITHOUT ROWID""",
    "CREATE INDEX passage_places_source ON passage_places (source, fingerprint)",
    "CREATE TABLE passage_keys (row INTEGER PRIMARY KEY, key BLOB NOT NULL)",
    "CREATE INDEX passage_keys_key ON passage_keys (key)",
)
_KEYS_AT_A_TIME = 500


class Place(NamedTuple):
    """
    A place of a passage: a row of `passage_places`, without its checksum.

    :param row: The row of the document that stores the passage.
    :param source: Absolute path of the file.
    :param page: Number of the page; -1 where there is none.
    :param section: The section; empty where there is none.
    :param position: Orders the passages of a section.
    :param id: The id that the document has when this is its first place.
    :param fingerprint: Fingerprint of the file, as in its record.
    :param listed: What the document lists of it when this is another place, as JSON.
    :param meta: The meta that the document has when this is its first place, as JSON.
    """

    row: int
    source: str
    page: float
    section: str
    position: float
    id: str
    fingerprint: str
    listed: str
    meta: str


_COLUMNS = ", ".join((*Place._fields, "checksum"))
_ORDER = "source, page, section, position, id"


class PlaceTable:
    """
    Reads and writes `passage_places` and `passage_keys`.

    :param connection: The open database. Methods that write must be called inside a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # False for a read-only index of an earlier format: it has no passages that are shared.
        self.exists = True

    def add(self, places: Iterable[Place]) -> None:
        """
        Store places.

        :param places: The places.
        """
        self._connection.executemany(
            f"INSERT OR REPLACE INTO passage_places ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            ((*place, _checksum(place)) for place in places),
        )

    def take_first(self, row: int) -> Place | None:
        """
        Remove and return the first of the places of a document.

        :param row: The row of the document.
        :raises DamagedDatabaseError: If it is damaged.
        """
        place = next(self._read(f"WHERE row = ? ORDER BY {_ORDER} LIMIT 1", (row,)), None)
        if place is not None:
            where = "row = ? AND source = ? AND page = ? AND section = ? AND position = ? AND id = ?"
            self._connection.execute(f"DELETE FROM passage_places WHERE {where}", place[:6])  # noqa: S608
        return place

    def listed(self, row: int) -> list[Any]:
        """
        Return what a document lists of its other places, in order.

        :param row: The row of the document.
        :raises DamagedDatabaseError: If it cannot be read.
        """
        found = self._connection.execute(f"SELECT listed FROM passage_places WHERE row = ? ORDER BY {_ORDER}", (row,))  # noqa: S608
        try:
            return list(json.loads(f"[{', '.join(listed for (listed,) in found)}]"))
        except ValueError as error:
            raise DamagedDatabaseError(self._connection.file, f"a place of row {row} is not JSON: {error}") from error

    def shared(self, rows: Collection[int]) -> set[int]:
        """
        Return those of these documents that have other places.

        :param rows: Rows of documents.
        """
        shared: set[int] = set()
        for part in batches(list(rows)):
            query = f"SELECT DISTINCT row FROM passage_places WHERE row IN {LISTED}"  # noqa: S608 - our own names
            shared.update(row for (row,) in self._connection.execute(query, (part,)))
        return shared

    def count(self, source: str) -> int:
        """
        Return the number of passages of a file that have their first place elsewhere.

        :param source: The file.
        """
        query = "SELECT count(*) FROM passage_places WHERE source = ?"
        return int(self._connection.execute(query, (source,)).fetchone()[0])

    def counts(self) -> Iterator[tuple[str, str, int]]:
        """Return the same number for all files, as source, fingerprint and count."""
        if self.exists:
            yield from self._connection.execute("SELECT source, fingerprint, count(*) FROM passage_places GROUP BY 1, 2")

    def move(self, row: int, to: int) -> None:
        """
        Let the places of one document be those of another.

        :param row: The row of the one.
        :param to: The row of the other.
        """
        self._connection.execute("UPDATE OR REPLACE passage_places SET row = ? WHERE row = ?", (to, row))

    def remove_files(self, sources: Iterable[str]) -> set[int]:
        """
        Remove the places in files.

        :param sources: The files.
        :returns: The rows of the documents that had a place there.
        """
        rows: set[int] = set()
        for source in sources:
            found = self._connection.execute("SELECT row FROM passage_places WHERE source = ?", (source,))
            rows.update(row for (row,) in found)
            self._connection.execute("DELETE FROM passage_places WHERE source = ?", (source,))
        return rows

    def put_keys(self, keys: Iterable[tuple[int, bytes]]) -> None:
        """
        Record the texts of passages.

        :param keys: Row and key of the text; replaces an older key.
        """
        self._connection.executemany("INSERT OR REPLACE INTO passage_keys VALUES (?, ?)", keys)

    def rows_with(self, keys: Sequence[bytes]) -> list[int]:
        """
        Return the rows of passages that had one of these texts when it was recorded. They may have changed since.

        :param keys: Keys of texts.
        """
        rows: list[int] = []
        for start in range(0, len(keys), _KEYS_AT_A_TIME):
            part = keys[start : start + _KEYS_AT_A_TIME]
            query = f"SELECT row FROM passage_keys WHERE key IN ({', '.join('?' * len(part))})"  # noqa: S608
            rows += [row for (row,) in self._connection.execute(query, part)]
        return rows

    def check(self) -> None:
        """
        Check all places.

        :raises DamagedDatabaseError: If one is damaged, or has no document.
        """
        if not self.exists:
            return
        for _ in self._read("", ()):
            pass
        query = "SELECT min(row) FROM passage_places WHERE row NOT IN (SELECT row FROM documents)"
        (orphan,) = self._connection.execute(query).fetchone()
        if orphan is not None:
            raise DamagedDatabaseError(self._connection.file, f"row {orphan} has places, but no document")

    def _read(self, where: str, parameters: tuple[Any, ...]) -> Iterator[Place]:
        query = f"SELECT {_COLUMNS} FROM passage_places {where}"  # noqa: S608 - our own names
        for *values, checksum in self._connection.execute(query, parameters):
            place = Place(*values)
            if _checksum(place) != checksum:
                raise DamagedDatabaseError(
                    self._connection.file, f"a place of row {place.row} in {shown(place.source)} is corrupt"
                )
            yield place


def _checksum(place: Place) -> int:
    """Return the CRC-32 of what is recorded about a place, without the row of its document, which may change."""
    return zlib.crc32("\0".join(map(str, place[1:])).encode())
