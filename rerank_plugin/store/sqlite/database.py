"""
The source-of-truth database: text, meta, vectors and settings of an index in one SQLite file.

The keyword and vector indexes are derived from it. Each table has its own class; Database combines them and manages
transactions. The caller holds a lock: a Database is used by one thread at a time.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.store.settings import Settings
from rerank_plugin.store.sqlite import indexed_files, judgements, places, schema
from rerank_plugin.store.sqlite.changes import Changelog
from rerank_plugin.store.sqlite.connection import Connection
from rerank_plugin.store.sqlite.damage import DamagedDatabaseError
from rerank_plugin.store.sqlite.documents import DocumentTable
from rerank_plugin.store.sqlite.indexed_files import IndexedFilesTable
from rerank_plugin.store.sqlite.integrity import check_everything
from rerank_plugin.store.sqlite.judgements import JudgementTable
from rerank_plugin.store.sqlite.ledger import Ledger, looks_untouched
from rerank_plugin.store.sqlite.places import PlaceTable
from rerank_plugin.store.sqlite.settings import SettingsTable
from rerank_plugin.store.sqlite.vectors import VectorTable


class Database:
    """One SQLite file, or one database in memory."""

    def __init__(self, file: Path | None) -> None:
        """
        Open the file; SQLite creates it if it is missing. A read-only file can still be read.

        :param file: The file, `None` for a database in memory.
        :raises IndexFormatError: If it is not an index, or a newer version wrote it.
        :raises DamagedDatabaseError: If it is corrupt, or lacks acknowledged changes.
        :raises StoreError: If it is read-only, and its last writer has not closed it.
        """
        self.file = file
        self._ledger = None if file is None else Ledger(file)
        # Read before the database, so that a concurrent writer can only make the database newer than the entry.
        self._noted = None if self._ledger is None else self._ledger.read()
        is_untouched = file is None or looks_untouched(file, self._noted)
        self._known = ("", 0)
        self.connection = Connection(file)
        try:
            self.settings = SettingsTable(self.connection)
            self.changes = Changelog(self.connection, self.settings)
            self.vectors = VectorTable(self.connection, self.settings)
            self.documents = DocumentTable(self.connection, self.settings, self.changes, self.vectors)
            self.places = PlaceTable(self.connection)
            self.indexed_files = IndexedFilesTable(self.connection, self.places)
            self.judgements = JudgementTable(self.connection)
            self.is_new = not self._has_tables()
            if self.is_new:
                self._compare_with_ledger("", 0)
            else:
                self._migrate()
                self._check(is_untouched=is_untouched)
            self._be_durable()
        except BaseException:
            self.connection.close()
            raise

    def _has_tables(self) -> bool:
        try:
            return schema.check(self.connection, self.file)
        except (TypeError, ValueError) as error:
            raise DamagedDatabaseError(self.file, f"setting 'format' cannot be read: {error}") from error

    def _be_durable(self) -> None:
        self.connection.execute("PRAGMA synchronous = FULL")  # a commit is durable when it returns

    def _migrate(self) -> None:
        if schema.is_outdated(self.connection):
            with self.connection.begin("BEGIN IMMEDIATE"):
                schema.migrate(self.connection)
        # A read-only index of an earlier format lacks what later ones have.
        stored = self.settings.number("format")
        self.documents.has_checksums = stored > schema.SEARCHABLE
        self.indexed_files.exists = stored >= indexed_files.FIRST_FORMAT
        self.places.exists = stored >= places.FIRST_FORMAT
        self.judgements.exists = stored >= judgements.FIRST_FORMAT

    def _check(self, *, is_untouched: bool) -> None:
        """Compare the database with the ledger, and verify all of it if it was changed by anything else."""
        with self.connection.begin("BEGIN"):
            self._known = self.settings.index_id, self.changes.total
            self._compare_with_ledger(*self._known)
            if not is_untouched:
                self._check_everything()
        if not is_untouched and self._ledger is not None:
            self._ledger.acknowledge(*self._known)

    def verify(self) -> None:
        """
        Read everything, and compare it with its checksums.

        :raises DamagedDatabaseError: If the structure or a document is damaged.
        """
        with self.snapshot():
            self._check_everything()

    def _check_everything(self) -> None:
        check_everything(self.connection, self.settings, self.changes, self.documents, [self.places, self.judgements])

    def _compare_with_ledger(self, index_id: str, counter: int) -> None:
        noted = self._noted
        # Another id means that another index was put here, such as a backup.
        if noted is not None and index_id in ("", noted.index_id) and counter < noted.counter:
            holds = f"ends with change {counter}" if index_id else "is empty"
            raise DamagedDatabaseError(
                self.file,
                f"it {holds}, but change {noted.counter} was acknowledged: its write-ahead log was deleted or damaged, or "
                "an older copy was put in its place",
                "restore the missing file or a backup of the whole index; to continue with this database, delete everything "
                "else in the folder",
            )

    def initialise(self, settings: Settings) -> None:
        """
        Create the tables of a new index.

        :param settings: The settings of the index.
        """
        self.connection.use_write_ahead_log()
        with self.connection.begin("BEGIN IMMEDIATE"):
            # Another process may have created them meanwhile.
            if self.connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
                for statement in schema.TABLES:
                    self.connection.execute(statement)
                fixed = {"format": schema.FORMAT, "index_id": uuid.uuid4().hex, "counter": 0, "last_row": 0, "reset": 0}
                for name, value in {**fixed, **settings.to_rows()}.items():
                    self.settings.set(name, value)
        self.is_new = False
        self._check(is_untouched=False)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the `with` block in a write transaction: all of it is committed or none; other writers wait."""
        with self.connection.begin("BEGIN IMMEDIATE"):
            yield
            counter = self.changes.total
        if counter > self._known[1]:
            self._known = self._known[0], counter
            if self._ledger is not None:
                self._ledger.acknowledge(*self._known)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run the `with` block in a read transaction: every read sees the same state, whatever other processes write."""
        if self.connection.in_transaction:
            yield
            return
        self.documents.meta_indexes.make_wanted()
        with self.connection.begin("BEGIN"):
            yield

    def suspend(self) -> None:
        """Close the file until `resume`, so that the process may fork; a database in memory stays open."""
        if self.file is not None:
            self.close()

    def resume(self) -> bool:
        """
        Open the file again after `suspend`.

        :returns: Whether it is still the same index, and not an older state of it; otherwise it must not be used.
        """
        if self.connection.resume():
            self._be_durable()
            index_id, counter = self.settings.index_id, self.changes.total
            return index_id == self._known[0] and counter >= self._known[1]
        return True

    def close(self) -> None:
        """Close the file."""
        was_open = self.connection.is_open
        self.connection.close()
        if was_open and self._ledger is not None:
            self._ledger.note_closed(self._known[0])

    def vacuum(self) -> None:
        """Rewrite the file without unused pages, and truncate the write-ahead log. Call outside a transaction."""
        self.connection.execute("VACUUM")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, file: Path) -> None:
        """
        Write a copy of the current state of the database.

        :param file: The copy; the file does not exist yet.
        """
        target = sqlite3.connect(file)
        try:
            self.connection.copy_to(target)
            # The copy is a separate index with its own id, so that files derived from the original are not used for it.
            target.execute("UPDATE settings SET value = ? WHERE name = 'index_id'", (uuid.uuid4().hex,))
            target.commit()
        finally:
            target.close()
