"""
What has been indexed: one row a file.

With it a second run skips what is unchanged, and goes on where a first one broke off.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rerank_plugin.errors import IndexFormatError, StoreError

FORMAT = 1
FILE_NAME = "manifest.sqlite"
BUSY_SECONDS = 30.0


@dataclass(frozen=True)
class FileState:
    """
    How far a file has been indexed.

    :param source: Absolute path of the file.
    :param fingerprint: Hash of its content and of how it was indexed.
    :param written: Passages of it that stand in the store, counted from its start.
    :param complete: Whether these are all, and older passages of the file are gone.
    """

    source: str
    fingerprint: str
    written: int
    complete: bool

    def is_whole(self, fingerprint: str) -> bool:
        """Tell whether the file has been indexed to its end in just this state."""
        return self.complete and self.fingerprint == fingerprint


class Manifest:
    """
    The table of indexed files, in an SQLite file of its own beside the store's.

    A row is written only after the store has committed: a crash between the two makes the next run write the same passages
    once more, over themselves.

    :param folder: The index; made where it is missing.
    :raises IndexFormatError: If a newer version wrote the manifest.
    :raises StoreError: If the folder or the file cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._connect() as connection:
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > FORMAT:
                    raise IndexFormatError(
                        f"{self._path} has format {version}, this version reads up to {FORMAT}: upgrade rerank-plugin"
                    )
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS files (source TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, "
                    "written INTEGER NOT NULL, complete INTEGER NOT NULL)"
                )
                connection.execute(f"PRAGMA user_version = {FORMAT}")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self._path} cannot be used: {error}; check the folder's permissions and free space"
            ) from error

    def get(self, source: str) -> FileState | None:
        """Return the state of a file, or `None` where it was never indexed."""
        with self._connect() as connection:
            row = connection.execute(
                "SELECT source, fingerprint, written, complete FROM files WHERE source = ?", (source,)
            ).fetchone()
        return FileState(row[0], row[1], row[2], bool(row[3])) if row else None

    def put(self, state: FileState) -> None:
        """Record the state of a file."""
        with self._connect() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO files (source, fingerprint, written, complete) VALUES (?, ?, ?, ?)",
                (state.source, state.fingerprint, state.written, state.complete),
            )

    def remove(self, source: str) -> None:
        """Forget a file."""
        with self._connect() as connection:
            connection.execute("DELETE FROM files WHERE source = ?", (source,))

    def sources(self) -> list[str]:
        """Return the paths of all files that were indexed, sorted."""
        with self._connect() as connection:
            return [row[0] for row in connection.execute("SELECT source FROM files ORDER BY source")]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY_SECONDS)) as connection, connection:
            yield connection
