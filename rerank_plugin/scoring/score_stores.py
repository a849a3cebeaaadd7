"""Where scores are kept: in memory, or in an SQLite file."""

import logging
import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rerank_plugin.errors import ScoreCacheError
from rerank_plugin.scoring.forking import keep_forever
from rerank_plugin.scoring.types import Window

logger = logging.getLogger(__name__)

FORMAT = 2
# SQLite takes at most 32,766 parameters a statement, older versions 999.
KEYS_AT_ONCE = 900
# Opening may have to wait for another process that creates the tables.
OPENING_SECONDS = 30
# A score that is not kept can be computed again, so a write does not wait long for the lock.
WRITING_MILLISECONDS = 500


@dataclass(frozen=True)
class CachedScore:
    """
    The score of one passage.

    :param logit: The model's raw output.
    :param window: The window that decided it, if the passage was cut into windows.
    """

    logit: float
    window: Window | None


class ScoreStore(Protocol):
    """Where scores are kept. Used by one thread at a time."""

    def get(self, keys: Iterable[bytes]) -> dict[bytes, CachedScore]:
        """Return the scores that are stored, and mark them as used."""

    def put(self, scores: Mapping[bytes, CachedScore]) -> None:
        """Store scores; the least recently used ones are dropped beyond the size."""

    def __len__(self) -> int:
        """Return the number of scores."""

    def close(self) -> None:
        """Close files."""


class MemoryScoreStore:
    """
    Scores in memory.

    :param size: Maximum number of scores.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: OrderedDict[bytes, CachedScore] = OrderedDict()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, CachedScore]:
        """See `ScoreStore.get`."""
        known = {key: self._scores[key] for key in keys if key in self._scores}
        for key in known:
            self._scores.move_to_end(key)
        return known

    def put(self, scores: Mapping[bytes, CachedScore]) -> None:
        """See `ScoreStore.put`."""
        self._scores.update(scores)
        while len(self._scores) > self._size:
            self._scores.popitem(last=False)

    def __len__(self) -> int:
        """See `ScoreStore.__len__`."""
        return len(self._scores)

    def close(self) -> None:
        """See `ScoreStore.close`."""
        self._scores.clear()


class SQLiteScoreStore:
    """
    Scores in an SQLite file that several processes may share. A file that cannot be written is used read-only.

    Reading writes nothing: use is recorded in memory and written with the next new scores. A failed write only logs a
    warning, as the scores have been computed anyway; a failed read is an error.

    :param path: The file; created if it does not exist.
    :param size: Maximum number of scores.
    :raises ScoreCacheError: If the file cannot be opened, or is not a score cache.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._used: dict[bytes, None] = {}
        self._is_closed = self._has_warned = False
        self._connect()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, CachedScore]:
        """See `ScoreStore.get`."""
        wanted = list(keys)
        known: dict[bytes, CachedScore] = {}
        with self._reading() as cursor:
            for start in range(0, len(wanted), KEYS_AT_ONCE):
                chunk = wanted[start : start + KEYS_AT_ONCE]
                marks = ", ".join("?" * len(chunk))
                rows = cursor.execute(
                    f"SELECT key, logit, start, stop, origin FROM scores WHERE key IN ({marks})",  # noqa: S608 - marks only
                    chunk,
                )
                for key, logit, first, last, origin in rows:
                    window = None if first is None else Window(int(first), int(last), int(origin))
                    known[key] = CachedScore(float(logit), window)
        if len(self._used) < self._size:
            self._used.update(dict.fromkeys(known))
        return known

    def put(self, scores: Mapping[bytes, CachedScore]) -> None:
        """See `ScoreStore.put`."""
        self._write(scores)

    def _write(self, scores: Mapping[bytes, CachedScore]) -> None:
        if self._is_read_only:
            return
        rows = [
            (key, score.logit, *((w.start, w.stop, w.origin) if (w := score.window) else (None, None, None)))
            for key, score in scores.items()
        ]
        connection = self._own_connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                (now,) = connection.execute("SELECT coalesce(max(used), 0) + 1 FROM scores").fetchone()
                connection.executemany("UPDATE scores SET used = ? WHERE key = ?", [(now, key) for key in self._used])
                connection.executemany(f"INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, {now + 1})", rows)  # noqa: S608
                connection.execute(
                    "DELETE FROM scores WHERE key IN (SELECT key FROM scores ORDER BY used "
                    "LIMIT max(0, (SELECT count(*) FROM scores) - ?))",
                    (self._size,),
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._used.clear()
        except sqlite3.Error as error:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "Scores cannot be written to %s: %s. They will be computed again next time.", self._path, error
                )

    def __len__(self) -> int:
        """See `ScoreStore.__len__`."""
        with self._reading() as cursor:
            return int(cursor.execute("SELECT count(*) FROM scores").fetchone()[0])

    def close(self) -> None:
        """See `ScoreStore.close`."""
        if self._is_closed:
            return
        if self._process == os.getpid():
            if self._used:
                self._write({})
            self._connection.close()
        else:
            keep_forever(self._connection)
        self._is_closed = True

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Cursor]:
        connection = self._own_connection()
        try:
            with closing(connection.cursor()) as cursor:
                yield cursor
        except (sqlite3.Error, TypeError, ValueError, OverflowError) as error:
            raise ScoreCacheError(
                f"score cache {self._path} cannot be read ({error}): delete it, or set score_cache to another file"
            ) from error

    def _own_connection(self) -> sqlite3.Connection:
        """Return this process's connection: one must not be used across a fork, nor closed in the child."""
        if self._is_closed:
            raise ScoreCacheError(f"score cache {self._path} is closed: open it again")
        if self._process != os.getpid():
            keep_forever(self._connection)
            self._connect()
        return self._connection

    def _connect(self) -> None:
        path = self._path
        self._process = os.getpid()
        self._is_read_only = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = self._open_to_write()
            except sqlite3.OperationalError:
                if not path.is_file():
                    raise
                self._connection = self._open_to_read()
                self._is_read_only = True
                logger.warning("Score cache %s is read-only: new scores are not kept", path)
        except (OSError, sqlite3.Error) as error:
            raise ScoreCacheError(
                f"score cache {path} cannot be opened ({error}): set score_cache to another file"
            ) from error

    def _open_to_write(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=OPENING_SECONDS, check_same_thread=False, isolation_level=None)
        try:
            version = self._check(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            if version < FORMAT:
                connection.execute("DROP TABLE IF EXISTS scores")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, logit REAL NOT NULL, start INTEGER, "
                "stop INTEGER, origin INTEGER, used INTEGER NOT NULL) WITHOUT ROWID"
            )
            connection.execute("CREATE INDEX IF NOT EXISTS scores_by_use ON scores (used)")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
            connection.execute(f"PRAGMA busy_timeout = {WRITING_MILLISECONDS}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_to_read(self) -> sqlite3.Connection:
        """Open a file read-only; as immutable where not even SQLite's side files can be created."""
        location = self._path.resolve().as_uri()
        for options in ("mode=ro", "mode=ro&immutable=1"):
            connection = sqlite3.connect(f"{location}?{options}", uri=True, check_same_thread=False, isolation_level=None)
            try:
                if self._check(connection) == FORMAT:
                    return connection
                connection.close()
                raise self._of_another_version()
            except sqlite3.Error as error:
                connection.close()
                failure = error
        raise failure

    def _check(self, connection: sqlite3.Connection) -> int:
        """Return the format version of a score cache; 0 for a new file."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if version > FORMAT or (tables and (version == 0 or tables != {"scores"})):
            raise self._of_another_version()
        return int(version)

    def _of_another_version(self) -> ScoreCacheError:
        return ScoreCacheError(f"{self._path} is not a score cache of this version: set score_cache to another file")
