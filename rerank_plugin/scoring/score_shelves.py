"""Where scores are kept: in memory, or in an SQLite file."""

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rerank_plugin.errors import ScoreCacheError
from rerank_plugin.scoring.types import Window

FORMAT = 1
# SQLite takes at most 32,766 parameters a statement, older versions 999.
KEYS_AT_ONCE = 900


@dataclass(frozen=True)
class CachedScore:
    """
    The score of one passage.

    :param logit: The model's raw output.
    :param window: The window that decided it, where the passage was long.
    """

    logit: float
    window: Window | None


class Shelf(Protocol):
    """Where scores are kept. Used by one thread at a time."""

    def get(self, keys: Iterable[bytes]) -> dict[bytes, CachedScore]:
        """Return the scores that are there, and count them as used."""

    def put(self, scores: dict[bytes, CachedScore]) -> None:
        """Keep scores; of too many, the ones not used for longest go."""

    def __len__(self) -> int:
        """Count the scores."""

    def close(self) -> None:
        """Let go of files."""


class MemoryShelf:
    """
    Scores in memory.

    :param size: Most scores.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: OrderedDict[bytes, CachedScore] = OrderedDict()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, CachedScore]:
        """See `Shelf.get`."""
        found = {key: self._scores[key] for key in keys if key in self._scores}
        for key in found:
            self._scores.move_to_end(key)
        return found

    def put(self, scores: dict[bytes, CachedScore]) -> None:
        """See `Shelf.put`."""
        self._scores.update(scores)
        while len(self._scores) > self._size:
            self._scores.popitem(last=False)

    def __len__(self) -> int:
        """See `Shelf.__len__`."""
        return len(self._scores)

    def close(self) -> None:
        """See `Shelf.close`."""
        self._scores.clear()


class SQLiteShelf:
    """
    Scores in an SQLite file, which several processes may share.

    :param path: The file; made if it is not there.
    :param size: Most scores.
    :raises ScoreCacheError: If the file cannot be opened, or is something else.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version > FORMAT or (version == 0 and tables):
                self._connection.close()
                raise ScoreCacheError(f"{path} is no score cache of this version: give another file as score_cache")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, logit REAL NOT NULL, start INTEGER, "
                "stop INTEGER, windows INTEGER, used INTEGER NOT NULL) WITHOUT ROWID"
            )
            self._connection.execute("CREATE INDEX IF NOT EXISTS scores_by_use ON scores (used)")
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        except (OSError, sqlite3.Error) as error:
            raise ScoreCacheError(f"score cache {path} cannot be opened ({error}): give another file") from error

    def get(self, keys: Iterable[bytes]) -> dict[bytes, CachedScore]:
        """See `Shelf.get`."""
        wanted, found = list(keys), {}
        with closing(self._connection.cursor()) as cursor:
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                part = wanted[start : start + KEYS_AT_ONCE]
                marks = ", ".join("?" * len(part))
                rows = cursor.execute(
                    f"SELECT key, logit, start, stop, windows FROM scores WHERE key IN ({marks})",  # noqa: S608 - marks only
                    part,
                )
                for key, logit, first, last, windows in rows:
                    found[key] = CachedScore(logit, None if first is None else Window(first, last, windows))
        if found:
            self._write(
                [("UPDATE scores SET used = (SELECT max(used) FROM scores) + 1 WHERE key = ?", [(k,) for k in found])]
            )
        return found

    def put(self, scores: dict[bytes, CachedScore]) -> None:
        """See `Shelf.put`."""
        rows = [
            (key, score.logit, *((w.start, w.stop, w.count) if (w := score.window) else (None, None, None)))
            for key, score in scores.items()
        ]
        insert = "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(used), 0) FROM scores) + 1)"
        evict = (
            "DELETE FROM scores WHERE key IN (SELECT key FROM scores ORDER BY used "
            "LIMIT max(0, (SELECT count(*) FROM scores) - ?))"
        )
        self._write([(insert, rows), (evict, [(self._size,)])])

    def _write(self, statements: list[tuple[str, list[tuple[object, ...]]]]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                for statement, rows in statements:
                    self._connection.executemany(statement, rows)
            finally:
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise ScoreCacheError(f"score cache {self._path} cannot be written ({error}): give another file") from error

    def __len__(self) -> int:
        """See `Shelf.__len__`."""
        return int(self._connection.execute("SELECT count(*) FROM scores").fetchone()[0])

    def close(self) -> None:
        """See `Shelf.close`."""
        self._connection.close()
