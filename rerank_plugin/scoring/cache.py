"""A cache of computed scores, shared by the threads of a process."""

import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from rerank_plugin.checks import check_count
from rerank_plugin.scoring.forking import renew_after_fork
from rerank_plugin.scoring.limits import CallLimits
from rerank_plugin.scoring.score_stores import CachedScore, MemoryScoreStore, ScoreStore, SQLiteScoreStore

MEMORY = "memory"
# A caller that waits for another caller's scores checks for cancellation every so many seconds.
POLL = 0.05


def score_key(identity: str, query: str, passage: str) -> bytes:
    """
    Build the cache key of a score.

    :param identity: Model, precision and window settings, see `PairScorer.identity`.
    :param query: The query.
    :param passage: The passage.
    :returns: 16 bytes. The length of the query is part of the key, so (ab, c) and (a, bc) differ.
    """
    text = f"{identity}\0{len(query)}\0{query}\0{passage}"
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


class ScoreCache:
    """
    Caches scores. When several callers without a deadline miss the same score, one computes it and the others wait.

    :param place: `memory`, or the path of an SQLite file.
    :param size: Maximum number of scores kept.
    :raises InvalidValueError: If the size is below 1.
    :raises ScoreCacheError: If the file cannot be used.
    """

    def __init__(self, place: str | Path, *, size: int) -> None:
        check_count("score_cache_size", size)
        self._store: ScoreStore
        if str(place) == MEMORY:
            self._store = MemoryScoreStore(size)
        else:
            self._store = SQLiteScoreStore(Path(place).expanduser(), size)
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock and forget what the parent's threads were computing: those threads do not exist here."""
        self._lock = threading.Lock()
        self._being_computed: dict[bytes, threading.Event] = {}

    def __len__(self) -> int:
        """Return the number of scores kept."""
        with self._lock:
            return len(self._store)

    def close(self) -> None:
        """Close the file or free the memory."""
        with self._lock:
            self._store.close()

    def get_or_compute(
        self,
        keys: Sequence[bytes],
        compute: Callable[[list[bytes]], Mapping[bytes, CachedScore]],
        limits: CallLimits | None = None,
    ) -> dict[bytes, CachedScore]:
        """
        Return scores, computing those that are missing.

        :param keys: The keys; duplicates are allowed.
        :param compute: Computes the scores of the given keys; with a deadline perhaps not all. Its exceptions propagate.
        :param limits: Limits of the call. A call with a deadline never waits: it computes scores that another call is
            already computing.
        :returns: All scores that are known at the end.
        :raises ScoringStoppedError: If the call was cancelled while it waited for another one.
        """
        limits = limits or CallLimits()
        known: dict[bytes, CachedScore] = {}
        while missing := [key for key in dict.fromkeys(keys) if key not in known]:
            mine, others = self._divide(missing, known, waits=not limits.is_timed)
            limits.started = limits.started or bool(known)
            if mine:
                try:
                    scores = compute(mine)
                    known.update(scores)
                    with self._lock:
                        self._store.put(scores)
                finally:
                    if not limits.is_timed:
                        self._release(mine)
            if limits.is_timed:
                break
            # Only after our own are done: otherwise two callers could wait for each other for ever.
            for event in others:
                while not event.wait(POLL):
                    limits.check_cancelled()
        return known

    def _divide(
        self, missing: list[bytes], known: dict[bytes, CachedScore], *, waits: bool
    ) -> tuple[list[bytes], list[threading.Event]]:
        """Look scores up; split the missing keys into those to compute here and events of other callers to wait for."""
        with self._lock:
            kept = self._store.get(missing)
            known.update(kept)
            absent = [key for key in missing if key not in kept]
            if not waits:
                return absent, []
            others = [self._being_computed[key] for key in absent if key in self._being_computed]
            mine = [key for key in absent if key not in self._being_computed]
            self._being_computed.update({key: threading.Event() for key in mine})
        return mine, others

    def _release(self, keys: list[bytes]) -> None:
        with self._lock:
            for key in keys:
                event = self._being_computed.pop(key, None)
                if event is not None:
                    event.set()
