"""Scores that were computed before."""

import threading
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from rerank_plugin.checks import check_count
from rerank_plugin.scoring.forking import renew_after_fork
from rerank_plugin.scoring.limits import CallLimits
from rerank_plugin.scoring.score_stores import CachedScore, MemoryScoreStore, ScoreStore, SQLiteScoreStore

MEMORY = "memory"
# Seconds between two looks at whether a caller that waits for another one's scores has lost interest.
POLL = 0.05


def score_key(identity: str, query: str, passage: str) -> bytes:
    """
    Make the key of a score.

    :param identity: Model, precision and window settings, see `PairScorer.identity`.
    :param query: The query.
    :param passage: The passage.
    :returns: 16 bytes; the length in between keeps (ab, c) and (a, bc) apart.
    """
    text = f"{identity}\0{len(query)}\0{query}\0{passage}"
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


class ScoreCache:
    """
    Remembers scores; of callers without a deadline that miss the same score at once, one computes it and the others wait.

    :param place: `memory`, or the path of an SQLite file.
    :param size: Most scores that are kept.
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
        """Forget the parent's threads: none of them computes anything here, or will release a lock."""
        self._lock = threading.Lock()
        self._being_computed: dict[bytes, threading.Event] = {}

    def __len__(self) -> int:
        """Count the scores that are kept."""
        with self._lock:
            return len(self._store)

    def close(self) -> None:
        """Let go of the file or the memory."""
        with self._lock:
            self._store.close()

    def get_or_compute(
        self,
        keys: Sequence[bytes],
        compute: Callable[[list[bytes]], Mapping[bytes, CachedScore]],
        limits: CallLimits | None = None,
    ) -> dict[bytes, CachedScore]:
        """
        Return scores, computing those that are not there.

        :param keys: The keys; the same one may occur more than once.
        :param compute: Computes the scores of some keys; with a deadline perhaps not of all. What it raises comes through.
        :param limits: Of the call. With a deadline it waits for nobody and computes itself what another one is computing.
        :returns: The scores that are known now.
        :raises ScoringStoppedError: If the caller lost interest while it waited for another one.
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
            # Not before our own are done: two callers that wait for each other would wait for ever.
            for event in others:
                while not event.wait(POLL):
                    limits.check_cancelled()
        return known

    def _divide(
        self, missing: list[bytes], known: dict[bytes, CachedScore], *, waits: bool
    ) -> tuple[list[bytes], list[threading.Event]]:
        """Look scores up; of those that are not there, say which are ours to compute, and for whom to wait."""
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
