"""The connection to an SQLite file, which may be read-only, and which is not shared with a forked child."""

import os
import sqlite3
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rerank_plugin.errors import StoreError

# How long a writer waits for another writer.
_BUSY_SECONDS = 60.0
Identity = tuple[int, int]
"""Device and inode of a file."""

# Connections that this process inherited from its parent, and their files. They are never closed, as SQLite would clean up
# on the parent's behalf, and no such file is opened again, as SQLite would assume that this process holds those locks.
_inherited: list[sqlite3.Connection] = []
_inherited_files: set[Identity | None] = set()


class Connection:
    """
    One connection to a database file or to a database in memory, for one thread at a time.

    A connection to a file can be suspended: SQLite's connection is closed, and `resume` opens another. In between, the
    process may fork. SQLite records its locks in the memory of the process, so a child that inherited an open connection
    would assume that it holds locks which only its parent holds.
    """

    def __init__(self, file: Path | None) -> None:
        """
        Open a database; SQLite creates the file if it is missing. A read-only file can still be read.

        :param file: The file, None for a database in memory.
        :raises StoreError: If it is read-only, and its last writer has not closed it.
        """
        self.file = file
        self._sqlite: sqlite3.Connection | None = None
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()
        self._process = os.getpid()
        self._is_inherited = False
        self._connect("rwc")

    def _connect(self, mode: str) -> None:
        # Checked before opening: a write in between changes the file.
        self._read_as = _version(self.file) if self.is_read_only else None
        self._sqlite = _open(self.file, mode)
        self.identity = _identify(self.file)

    @property
    def is_open(self) -> bool:
        """Whether it is neither suspended nor closed."""
        return self._sqlite is not None

    @property
    def is_read_only(self) -> bool:
        """Whether the file, or its folder, cannot be written."""
        return self.file is not None and not _can_be_written(self.file)

    @property
    def is_current(self) -> bool:
        """Whether the path still names the file that was opened and, if that is only read, nobody has written to it."""
        return _identify(self.file) == self.identity and not self._was_written_by_others

    @property
    def _was_written_by_others(self) -> bool:
        return self._read_as is not None and _version(self.file) != self._read_as

    @property
    def is_inherited(self) -> bool:
        """Whether it was open when this process was forked, so that only the parent can use it."""
        if self._sqlite is not None and self.file is not None and self._process != os.getpid():
            self.abandon()
        return self._is_inherited

    @property
    def _usable(self) -> sqlite3.Connection:
        if self.is_inherited:
            raise _inherited_error(self.file)
        if self._sqlite is None:
            raise StoreError(f"{self.file or 'the index in memory'} is closed")
        return self._sqlite

    def execute(self, statement: str, parameters: Any = ()) -> sqlite3.Cursor:
        """
        Run one statement.

        :param statement: SQL.
        :param parameters: Its values.
        :returns: A cursor, which is closed when the connection is suspended or closed.
        """
        cursor = self._usable.execute(statement, parameters)
        self._cursors.add(cursor)
        return cursor

    def executemany(self, statement: str, rows: Iterable[Any]) -> None:
        """
        Run one statement for each row of values.

        :param statement: SQL.
        :param rows: The values.
        """
        self._usable.executemany(statement, rows).close()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._sqlite is not None and self._sqlite.in_transaction

    @contextmanager
    def begin(self, statement: str) -> Iterator[None]:
        """
        Run the `with` block in one transaction, which is rolled back if the block raises.

        :param statement: `BEGIN`, or `BEGIN IMMEDIATE` to write.
        """
        self.execute(statement)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.in_transaction:
                self.execute("ROLLBACK")
            raise

    def copy_to(self, target: sqlite3.Connection) -> None:
        """
        Copy the current state of the whole database.

        :param target: Another database.
        """
        self._usable.backup(target)

    def use_write_ahead_log(self) -> None:
        """Switch to write-ahead logging, so that a writer does not block readers."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite's busy timeout does not cover a change of the mode, which several processes may attempt at once.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def check_unchanged(self) -> None:
        """
        Check that nobody has written to a file that is only read: SQLite then mixes what it read before and after.

        :raises StoreError: If somebody has. What was read since the last check must not be believed.
        """
        if self._was_written_by_others:
            raise StoreError(
                f"{self.file} was written to while it was read, in a folder that this process cannot write: try again, or "
                "let readers of an index that changes write to its folder"
            )

    def suspend(self) -> None:
        """Close SQLite's connection until `resume`; a database in memory stays open."""
        if self.file is not None:
            self._close()

    def resume(self) -> bool:
        """
        Open the file again after `suspend`.

        :returns: Whether it had been suspended.
        :raises sqlite3.OperationalError: If the file is gone.
        """
        if self.is_open or self.is_inherited:
            return False
        self._connect("rw")
        self._process = os.getpid()
        return True

    def abandon(self) -> None:
        """Called in a child process: give up the parent's connection without using or closing it."""
        if self._sqlite is not None:
            _inherited.append(self._sqlite)
            _inherited_files.add(self.identity)
        self._sqlite, self._is_inherited = None, True

    def __del__(self) -> None:
        """Keep a connection of the parent open where the fork did not run the handlers of `os.register_at_fork`."""
        if self._sqlite is not None and self.file is not None and self._process != os.getpid():
            self.abandon()

    def close(self) -> None:
        """Close the file, or discard the database in memory."""
        self._close()

    def _close(self) -> None:
        if self.is_inherited:
            return
        # A cursor that is still referenced, such as by the traceback of an error, would keep the file open.
        for cursor in list(self._cursors):
            with suppress(sqlite3.Error):
                cursor.close()
        self._cursors.clear()
        connection, self._sqlite = self._sqlite, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()


def is_writable(folder: Path) -> bool:
    """
    Return whether files can be created in a folder.

    :param folder: The folder.
    """
    return os.access(folder, os.W_OK)


def log_file(file: Path) -> Path:
    """
    Return the path of the write-ahead log that SQLite keeps beside a database while it is open.

    :param file: The database.
    """
    real = file.resolve()  # a link may stand for the database: the log is beside what it names
    return real.with_name(f"{real.name}-wal")


def _identify(file: Path | None) -> Identity | None:
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    return status and (status.st_dev, status.st_ino)


def _version(file: Path | None) -> tuple[int, int] | None:
    try:
        status = file.stat() if file else None
    except OSError:
        return None
    return status and (status.st_size, status.st_mtime_ns)


def _inherited_error(file: Path | None) -> StoreError:
    return StoreError(
        f"{file or 'the index in memory'} was in use while this process was forked, so this process cannot use it: fork "
        "when no call of a store is running, or start processes with multiprocessing's 'spawn' or with subprocess"
    )


def _can_be_written(file: Path) -> bool:
    return os.access(file, os.W_OK) and is_writable(file.parent)


def _open(file: Path | None, mode: str) -> sqlite3.Connection:
    if file is not None and _identify(file) in _inherited_files - {None}:
        raise _inherited_error(file)
    # Transactions are begun explicitly (isolation_level), and the caller's lock serialises threads (check_same_thread).
    return sqlite3.connect(
        _address(file, mode), uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )


def _address(file: Path | None, mode: str) -> str:
    if file is None:
        return ":memory:"
    address = file.resolve().as_uri()
    if not file.exists() or _can_be_written(file):
        return f"{address}?mode={mode}"
    log = log_file(file)
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"{file.parent} is read-only, and its last writer has not closed it: open it once where it is writable"
        )
    return f"{address}?immutable=1"  # otherwise SQLite writes shared-memory files even for reading
