"""The connection to a SQLite file, which may lie where nothing can be written."""

import os
import sqlite3
import time
from pathlib import Path

from rerank_plugin.errors import StoreError

# So long a writer waits for another one.
_BUSY_SECONDS = 60.0


def connect(file: Path | None) -> sqlite3.Connection:
    """
    Open a database; SQLite creates the file if it is missing. Where it cannot be written, it can still be read.

    :param file: The file, None for a database in memory.
    :returns: A connection without transactions of its own making, for one thread at a time.
    :raises StoreError: If it cannot be written, and the last writer has not closed it.
    """
    return sqlite3.connect(_address(file), uri=True, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """
    Let readers go on while one process writes.

    :param connection: The open database.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Of several processes that make an index at once, SQLite lets one change the mode, and the others do not wait.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def is_writable(folder: Path) -> bool:
    """
    Return whether files in a folder can be made.

    :param folder: The folder.
    """
    return os.access(folder, os.W_OK)


def _address(file: Path | None) -> str:
    if file is None:
        return ":memory:"
    address = file.resolve().as_uri()
    if not file.exists() or (os.access(file, os.W_OK) and is_writable(file.parent)):
        return address
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"{file.parent} cannot be written, and its last writer has not closed it: open it once where it can be written"
        )
    return f"{address}?immutable=1"  # SQLite would write even for reading: others may be at work on the file
