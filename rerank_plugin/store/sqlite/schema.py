"""The tables of an index, their format version, and migrations from earlier formats."""

import sqlite3
from pathlib import Path

from rerank_plugin.errors import IndexFormatError
from rerank_plugin.store.sqlite import indexed_files, judgements, places
from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.records import CHECKSUMS, Record

FORMAT = 5
# The earliest format that can be searched without migration, for read-only indexes. It has no checksums.
SEARCHABLE = 2

TABLES = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    f"""CREATE TABLE documents (row INTEGER PRIMARY KEY, changed INTEGER NOT NULL,
        {", ".join(Record._fields)}, UNIQUE (id))""",
    "CREATE INDEX documents_changed ON documents (changed, has_text)",
    # Separate from the texts, so that reading one does not load the other.
    "CREATE TABLE vectors (row INTEGER PRIMARY KEY, embedding BLOB NOT NULL)",
    # For counting and listing rows without reading the pages of the vectors.
    "CREATE INDEX vectors_row ON vectors (row)",
    "CREATE TABLE deleted (row INTEGER PRIMARY KEY, changed INTEGER NOT NULL)",
    "CREATE INDEX deleted_changed ON deleted (changed)",
    *indexed_files.TABLES,
    *places.TABLES,
    *judgements.TABLES,
)
# The statements that migrate an index from a format to the next.
_MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: ("CREATE INDEX vectors_row ON vectors (row)",),
    # Formats 1 and 2 kept the indexed files in a separate database, which could disagree with this one: it is ignored, and
    # the next indexing run reads all files again. Existing rows have no checksum until they are written again.
    2: (*indexed_files.TABLES, *(f"ALTER TABLE documents ADD COLUMN {name}" for name in CHECKSUMS)),
    # Format 3 stored a passage as often as it occurs. The next indexing run merges what it reads.
    3: places.TABLES,
    4: judgements.TABLES,
}


def check(connection: Connection, file: Path | None) -> bool:
    """
    Check that a database is an index of a known format.

    :param connection: The open database.
    :param file: Its file, for messages.
    :returns: Whether there are tables; a new database has none.
    :raises IndexFormatError: If it is not an index, or a newer version wrote it.
    """
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) or "malformed" in str(error):
            raise
        raise IndexFormatError(f"{file} is not an index of rerank-plugin: {error}") from error
    if not tables:
        return False
    stored = _format(connection) if {"settings", "documents"} <= tables else None
    if stored is None:
        raise IndexFormatError(f"{file} is not an index of rerank-plugin: it holds other tables")
    if stored > FORMAT:
        raise IndexFormatError(f"{file} has format {stored}, this version reads up to {FORMAT}: upgrade rerank-plugin")
    return True


def is_outdated(connection: Connection) -> bool:
    """
    Return whether an index must be migrated before it can be used.

    A read-only index that can be searched without migration need not be.

    :param connection: The open database.
    """
    return (_format(connection) or FORMAT) < (SEARCHABLE if connection.is_read_only else FORMAT)


def migrate(connection: Connection) -> None:
    """
    Migrate an index to the current format. Call inside a transaction.

    :param connection: The open database.
    """
    for old in range(_format(connection) or FORMAT, FORMAT):
        for statement in _MIGRATIONS[old]:
            connection.execute(statement)
        connection.execute("UPDATE settings SET value = ? WHERE name = 'format'", (old + 1,))


def _format(connection: Connection) -> int | None:
    row = connection.execute("SELECT value FROM settings WHERE name = 'format'").fetchone()
    return None if row is None else int(row[0])
