"""
The manifest: which files were indexed into a store of another package, kept on this machine.

Our own store has such a table in the database of its documents. Other stores have no place for it that all of them share,
so it is in a SQLite file, in a folder that is named after the store's address.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from rerank_plugin.errors import IndexFormatError, StoreError
from rerank_plugin.files import data_folder
from rerank_plugin.pipelines.stores import StoreAddress
from rerank_plugin.store.sqlite.indexed_files import IndexedFile

FILE = "manifest.sqlite"
FORMAT = 1
_TABLES = """
    CREATE TABLE files (source TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, size INTEGER NOT NULL, since INTEGER NOT NULL,
        documents INTEGER NOT NULL, passages INTEGER NOT NULL, complete INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE target (address TEXT NOT NULL, documents INTEGER);
"""
_NAMES = ", ".join(field.name for field in fields(IndexedFile))
_MARKS = ", ".join("?" * len(fields(IndexedFile)))


def manifest_folder(address: StoreAddress, folder: Path | None) -> Path:
    """
    Return the folder of the manifest of a store.

    :param address: Where the store is.
    :param folder: A folder for the manifests of any stores; `None`: one in the user's data folder.
    """
    return (folder or data_folder() / "targets") / address.key


class Manifest:
    """
    The record of each file. A change is on disk when a method returns.

    :param folder: From `manifest_folder`; made by the first change.
    :param address: Where the store is.
    """

    def __init__(self, folder: Path, address: StoreAddress) -> None:
        self.folder = folder
        self._address = address

    def files(self) -> dict[str, IndexedFile]:
        """Return the record of every file, by source."""
        with self._open() as database:
            rows = [] if database is None else database.execute(f"SELECT {_NAMES} FROM files").fetchall()  # noqa: S608
        return {row[0]: _file(row) for row in rows}

    def get(self, source: str) -> IndexedFile | None:
        """
        Return the record of a file, `None` if there is none.

        :param source: The file.
        """
        with self._open() as database:
            query = f"SELECT {_NAMES} FROM files WHERE source = ?"  # noqa: S608 - our own names
            row = None if database is None else database.execute(query, (source,)).fetchone()
        return None if row is None else _file(row)

    def put(self, files: Iterable[IndexedFile]) -> None:
        """
        Store the records of files. The number of documents of the store counts as unknown from then on.

        :param files: One record a file; it replaces an older one.
        """
        with self._changing() as database:
            database.execute("UPDATE target SET documents = NULL")
            database.executemany(f"INSERT OR REPLACE INTO files ({_NAMES}) VALUES ({_MARKS})", map(astuple, files))  # noqa: S608

    def remove(self, sources: Iterable[str]) -> None:
        """
        Forget files.

        :param sources: Their sources.
        """
        with self._changing() as database:
            database.execute("UPDATE target SET documents = NULL")
            database.executemany("DELETE FROM files WHERE source = ?", ((source,) for source in sources))

    @property
    def documents(self) -> int | None:
        """The number of documents in the store when the last run ended; `None`: it was interrupted, or there was none."""
        with self._open() as database:
            row = None if database is None else database.execute("SELECT documents FROM target").fetchone()
        return None if row is None else row[0]

    def put_documents(self, documents: int) -> None:
        """
        Record how many documents the store has at the end of a run.

        :param documents: The number.
        """
        with self._changing() as database:
            database.execute("UPDATE target SET documents = ?", (documents,))

    @contextmanager
    def _open(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        file = self.folder / FILE
        if not create and not file.exists():
            yield None
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=60, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                self._prepare(database)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{file}, the record of what was indexed into {self._address}, cannot be used ({error}): check the folder's "
                "permissions and free space; if it is damaged, delete it, and the files are indexed again"
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._open(create=True) as database:
            assert database is not None, "it was created"
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _prepare(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT:
            raise IndexFormatError(
                f"{self.folder / FILE} has format {version}, this version reads up to {FORMAT}: upgrade rerank-plugin"
            )
        if version == FORMAT:
            return
        database.execute("BEGIN IMMEDIATE")
        if database.execute("PRAGMA user_version").fetchone()[0] == 0:  # no other process was faster
            for statement in filter(str.strip, _TABLES.split(";")):
                database.execute(statement)
            database.execute("INSERT INTO target VALUES (?, NULL)", (str(self._address),))
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")


def _file(row: tuple[Any, ...]) -> IndexedFile:
    source, fingerprint, size, since, documents, passages, complete = row
    return IndexedFile(source, fingerprint, size, since, documents, passages, bool(complete))
