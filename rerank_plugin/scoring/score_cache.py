"""Scores that were computed before."""

import threading
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.scoring.score_shelves import CachedScore, MemoryShelf, Shelf, SQLiteShelf


def score_key(identity: str, query: str, passage: str) -> bytes:
    """
    Make the key of a score.

    :param identity: Model, precision and window settings, see `PairScorer.identity`.
    :param query: The query.
    :param passage: The passage.
    :returns: 16 bytes; the lengths in between keep (ab, c) and (a, bc) apart.
    """
    text = f"{identity}\0{len(query)}\0{query}\0{passage}"
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


class ScoreCache:
    """
    Remembers scores; of callers that miss the same score at once, one computes it and the others wait.

    :param place: `memory`, or the path of an SQLite file.
    :param size: Most scores that are kept.
    :raises InvalidValueError: If the size is below 1.
    :raises ScoreCacheError: If the file cannot be used.
    """

    def __init__(self, place: str | Path, *, size: int) -> None:
        if size < 1:
            raise InvalidValueError(f"score_cache_size must be at least 1, got {size}")
        self._shelf: Shelf = MemoryShelf(size) if str(place) == "memory" else SQLiteShelf(Path(place).expanduser(), size)
        self._lock = threading.Lock()
        self._computed_now: dict[bytes, threading.Event] = {}
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        """Count the scores that are kept."""
        with self._lock:
            return len(self._shelf)

    def close(self) -> None:
        """Let go of the file or the memory."""
        with self._lock:
            self._shelf.close()

    def get_or_compute(self, keys: Sequence[bytes], compute: Callable[[list[int]], list[CachedScore]]) -> list[CachedScore]:
        """
        Return scores, computing those that are not there.

        :param keys: The keys; the same one may occur more than once.
        :param compute: Computes the scores of some positions of `keys`. What it raises comes through.
        :returns: The scores, in the order of the keys.
        """
        known: dict[bytes, CachedScore] = {}
        while missing := [key for key in dict.fromkeys(keys) if key not in known]:
            mine, others = self._claim(missing, known)
            if mine:
                first = {key: position for position, key in reversed(list(enumerate(keys)))}
                try:
                    scores = compute([first[key] for key in mine])
                    known.update(zip(mine, scores, strict=True))
                    with self._lock:
                        self._shelf.put({key: known[key] for key in mine})
                finally:
                    self._release(mine)
            # Not before our own are done: two callers that wait for each other would wait for ever.
            for event in others:
                event.wait()
        return [known[key] for key in keys]

    def _claim(self, missing: list[bytes], known: dict[bytes, CachedScore]) -> tuple[list[bytes], list[threading.Event]]:
        with self._lock:
            found = self._shelf.get(missing)
            known.update(found)
            mine, others = [], []
            for key in missing:
                if key in found:
                    continue
                if key in self._computed_now:
                    others.append(self._computed_now[key])
                else:
                    self._computed_now[key] = threading.Event()
                    mine.append(key)
            self.hits += len(found)
            self.misses += len(mine)
        return mine, others

    def _release(self, keys: list[bytes]) -> None:
        with self._lock:
            for key in keys:
                self._computed_now.pop(key).set()
