"""How much work may wait: a bound on requests and texts, and how long what waits should take."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from rerank_plugin.errors import OverloadedError

# The rate is that of the work which ended in so many seconds.
RATE_SECONDS = 30.0
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 120.0


class Admission:
    """
    Counts the requests and texts that wait or are being worked on, and refuses what is too much.

    Used by the one thread of an event loop.

    :param max_requests: Maximum number of requests.
    :param max_texts: Maximum number of texts; a single request with more is admitted when nothing else waits.
    :param clock: Returns seconds.
    """

    def __init__(self, *, max_requests: int, max_texts: float = inf, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_requests, self.max_texts = max_requests, max_texts
        self.requests = self.texts = 0
        self._clock = clock
        self._done: deque[tuple[float, int]] = deque()

    @contextmanager
    def admit(self, texts: int = 1) -> Iterator[None]:
        """
        Let a request in, or refuse it at once.

        :param texts: Number of its texts.
        :raises OverloadedError: If too much is waiting already.
        """
        too_many = self.requests >= self.max_requests
        if too_many or (self.requests and self.texts + texts > self.max_texts):
            raise OverloadedError(
                f"{self.requests} requests with {self.texts} texts are waiting already: try again after the time in "
                "Retry-After",
                retry_after=self.seconds_of_backlog(),
            )
        self.requests += 1
        self.texts += texts
        try:
            yield
            self._done.append((self._clock(), texts))
        finally:
            self.requests -= 1
            self.texts -= texts

    def seconds_of_backlog(self) -> float:
        """Return how long the texts that wait now should take, by the rate of the last half minute."""
        now = self._clock()
        while self._done and now - self._done[0][0] > RATE_SECONDS:
            self._done.popleft()
        if not self._done:
            return SHORTEST_WAIT
        seconds = max(now - self._done[0][0], SHORTEST_WAIT)
        rate = sum(texts for _, texts in self._done) / seconds
        return min(max(self.texts / rate, SHORTEST_WAIT), LONGEST_WAIT)
