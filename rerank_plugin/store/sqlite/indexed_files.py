"""The table of indexed files: which files `rerank index` has read into the store, and how far it got."""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from typing import Any

from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.places import PlaceTable

# The source of a passage is in its meta. With this index, the passages of a file are found without reading their meta, and
# the meta of other documents is not even parsed. `json_valid`: meta that SQLite cannot parse must not prevent a write.
_SOURCE = "CASE WHEN json_valid(meta) THEN json_extract(meta, '$.source') END"
_FINGERPRINT = "CASE WHEN json_valid(meta) THEN json_extract(meta, '$.source_fingerprint') END"
_IS_PASSAGE = "instr(meta, '\"source_fingerprint\"') > 0"

FIRST_FORMAT = 3
TABLES = (
    """CREATE TABLE indexed_files (source TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, size INTEGER NOT NULL,
        since INTEGER NOT NULL, documents INTEGER NOT NULL, passages INTEGER NOT NULL, complete INTEGER NOT NULL)
        WITHOUT ROWID""",
    f"CREATE INDEX documents_source ON documents ({_SOURCE}, {_FINGERPRINT}) WHERE {_IS_PASSAGE}",
)


@dataclass(frozen=True)
class IndexedFile:
    """
    How far a file has been indexed: a row of the table.

    :param source: Absolute path of the file, also in the meta of its passages.
    :param fingerprint: Hash of its content and of the indexing configuration, also in the meta of its passages.
    :param size: Its size in bytes.
    :param since: The store's change counter when indexing began: passages written later have this fingerprint, older ones
        are removed at the end.
    :param documents: For a corpus, the number of documents read and written so far.
    :param passages: Number of passages written so far; of a complete file, of all passages.
    :param complete: Whether it was indexed completely, and its older passages were deleted.
    """

    source: str
    fingerprint: str
    size: int
    since: int = 0
    documents: int = 0
    passages: int = 0
    complete: bool = False


class IndexedFilesTable:
    """
    Reads and writes the table `indexed_files`, and looks up the passages of a file.

    It is in the same database as the documents, so that a copy, a backup or a deleted file cannot separate them.

    :param connection: The open database. Methods that write must be called inside a transaction.
    :param places: The passages that have their first place elsewhere.
    """

    def __init__(self, connection: Connection, places: PlaceTable) -> None:
        self._connection = connection
        self._places = places
        # False for a read-only index of an earlier format: it counts as one into which no file was indexed.
        self.exists = True

    def files(self) -> dict[str, IndexedFile]:
        """Return the record of every file, by source."""
        return {file.source: file for file in self._select("", ())} if self.exists else {}

    def get(self, source: str) -> IndexedFile | None:
        """
        Return the record of a file, `None` if there is none.

        :param source: The file.
        """
        return next(iter(self._select("WHERE source = ?", (source,))), None)

    def put(self, files: Iterable[IndexedFile]) -> None:
        """
        Store the records of files.

        :param files: One record per file; it replaces an older one.
        """
        marks = ", ".join("?" * len(fields(IndexedFile)))
        self._connection.executemany(
            f"INSERT OR REPLACE INTO indexed_files VALUES ({marks})",  # noqa: S608 - our own names
            (astuple(file) for file in files),
        )

    def remove(self, sources: Iterable[str]) -> None:
        """
        Forget files; their passages stay.

        :param sources: Their sources.
        """
        self._connection.executemany("DELETE FROM indexed_files WHERE source = ?", ((source,) for source in sources))

    def passage_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of passages, wherever they have their first place: source -> fingerprint -> count."""
        counts: dict[str, dict[str, int]] = {}
        rows = self._connection.execute(
            f"SELECT {_SOURCE} AS source, {_FINGERPRINT} AS fingerprint, count(*) "  # noqa: S608 - our own names
            f"FROM documents WHERE {_IS_PASSAGE} GROUP BY 1, 2"
        )
        for source, fingerprint, count in rows:
            if isinstance(source, str) and isinstance(fingerprint, str):
                counts.setdefault(source, {})[fingerprint] = count
        for source, fingerprint, count in self._places.counts():
            of_file = counts.setdefault(source, {})
            of_file[fingerprint] = of_file.get(fingerprint, 0) + count
        return counts

    def passage_count(self, source: str) -> int:
        """
        Return the number of passages of a file, wherever they have their first place.

        :param source: The file.
        """
        return len(self.rows(source)) + self._places.count(source)

    def rows(self, source: str) -> list[int]:
        """
        Return the rows of all passages that have their first place in a file.

        :param source: The file.
        """
        return self._rows(source, "1", ())

    def stale_rows(self, file: IndexedFile) -> list[int]:
        """
        Return those of these rows that have another fingerprint, or were not written since indexing began.

        :param file: The file.
        """
        return self._rows(file.source, f"({_FINGERPRINT} IS NOT ? OR changed <= ?)", (file.fingerprint, file.since))

    def _select(self, where: str, parameters: tuple[Any, ...]) -> Iterator[IndexedFile]:
        names = ", ".join(field.name for field in fields(IndexedFile))
        query = f"SELECT {names} FROM indexed_files {where}"  # noqa: S608 - our own names
        for source, fingerprint, size, since, documents, passages, complete in self._connection.execute(query, parameters):
            yield IndexedFile(source, fingerprint, size, since, documents, passages, bool(complete))

    def _rows(self, source: str, condition: str, parameters: tuple[Any, ...]) -> list[int]:
        query = f"SELECT row FROM documents WHERE {_IS_PASSAGE} AND {_SOURCE} = ? AND {condition}"  # noqa: S608
        return [row for (row,) in self._connection.execute(query, (source, *parameters))]
