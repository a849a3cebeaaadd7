"""How much work may wait: a request that would wait too long is refused at once, with the time after which it may come."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from rerank_plugin.errors import OverloadedError

# The pace is that of the last so many seconds in which there was work, once there were so many.
PACE_SECONDS = 30.0
LEAST_SECONDS = 1.0
# A request that hung, or that a cache answered, says little of the next ones.
LOWEST_PACE, HIGHEST_PACE = 0.1, 10.0
# The share of the longest wait that is given away: the rest is for estimates that are too low, and for shorter requests, which
# come later and go first.
ADMITTED_SHARE = 0.8
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 120.0


class Admission:
    """
    Knows what the admitted requests are expected to take, and refuses those that would wait too long.

    Expected times come from what the model has learned of its own speed; how much longer or shorter the requests really took
    is measured and applied to those that wait. Used by the one thread of an event loop.

    :param max_requests: Maximum number of requests.
    :param max_wait: Seconds that a request may have to wait until it is answered. What is given away is `ADMITTED_SHARE` of
        it; a request that takes longer by itself is admitted when half of that is free.
    :param clock: Returns seconds.
    """

    def __init__(self, *, max_requests: int, max_wait: float = inf, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_requests, self.max_wait = max_requests, max_wait
        self.requests = 0
        self._expected = 0.0
        self._clock = clock
        self._busy_before, self._busy_since = 0.0, 0.0
        self._at_work_since = 0.0
        self._done: deque[tuple[float, float]] = deque([(0.0, 0.0)])

    @contextmanager
    def admit(self, expected: float = 0.0, *, deadline: float = inf) -> Iterator[None]:
        """
        Let a request in, or refuse it at once.

        :param expected: Seconds that the model is expected to need for it.
        :param deadline: Seconds after which its client wants a partial answer: it is refused if all of them would pass in
            waiting.
        :raises OverloadedError: If too much is waiting already.
        """
        backlog = self.backlog
        most = ADMITTED_SHARE * self.max_wait
        excess = max(backlog + min(self._pace * expected, most / 2) - most, backlog - deadline)
        if self.requests and (self.requests >= self.max_requests or excess > 0):
            raise OverloadedError(
                f"{self.requests} requests are waiting already, which take about {backlog:.1f} s: try again after the time "
                "in Retry-After",
                retry_after=min(max(excess, SHORTEST_WAIT), LONGEST_WAIT),
            )
        if not self.requests:
            self._busy_since = self._at_work_since = self._clock()
        self.requests += 1
        self._expected += expected
        try:
            yield
            self._note(expected)
        finally:
            self._at_work_since = self._clock()
            self.requests -= 1
            self._expected -= expected
            if not self.requests:
                self._expected = 0.0
                self._busy_before = self._busy_seconds

    @property
    def backlog(self) -> float:
        """Seconds that the admitted requests are still expected to take: what was done since the last one ended was for them."""
        done = self._clock() - self._at_work_since
        return max(0.0, self._pace * self._expected - done)

    @property
    def _busy_seconds(self) -> float:
        """Seconds in which there was work."""
        return self._busy_before + self._clock() - self._busy_since

    @property
    def _pace(self) -> float:
        """Seconds that pass for every second that was expected."""
        (first, _), (last, _) = self._done[0], self._done[-1]
        expected = sum(seconds for _, seconds in self._done) - self._done[0][1]
        if last - first < LEAST_SECONDS or expected <= 0:
            return 1.0
        return min(max((last - first) / expected, LOWEST_PACE), HIGHEST_PACE)

    def _note(self, expected: float) -> None:
        busy = self._busy_seconds
        self._done.append((busy, expected))
        while len(self._done) > 2 and busy - self._done[0][0] > PACE_SECONDS:
            self._done.popleft()
