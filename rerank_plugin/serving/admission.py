"""How much work may wait: a request that would wait too long is refused at once, with the time after which it may come."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

from rerank_plugin.errors import OverloadedError
from rerank_plugin.scoring.limits import Usage

# The pace is that of the last requests that took so many seconds of the model together.
PACE_SECONDS = 30.0
LEAST_SECONDS = 1.0
# A request that a cache answered says little of the next ones.
LOWEST_PACE, HIGHEST_PACE = 0.1, 10.0
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 120.0
# The share of the longest wait that is given away: the rest is for estimates that are too low, and for shorter requests
# that come later and go first.
ADMITTED_SHARE = 0.75


class Admission:
    """
    Knows what the admitted requests are expected to take, and refuses those that would wait too long.

    Expected times come from what the model has learned of its own speed; how much longer or shorter the requests really took
    is measured and applied to those that wait. Used by the one thread of an event loop.

    :param max_requests: Maximum number of requests.
    :param max_wait: Seconds that a request may have to wait until it is answered. What is given away is `ADMITTED_SHARE` of
        it; a request that takes longer by itself is admitted when half of that is free.
    """

    def __init__(self, *, max_requests: int, max_wait: float = inf) -> None:
        self.max_requests, self.max_wait = max_requests, max_wait
        self._admitted: dict[int, tuple[float, Usage]] = {}
        self._count = 0
        self._done: deque[tuple[float, float]] = deque()

    @contextmanager
    def admit(self, expected: float = 0.0, *, deadline: float = inf) -> Iterator[Usage]:
        """
        Let a request in, or refuse it at once.

        :param expected: Seconds that the model is expected to need for it.
        :param deadline: Seconds after which its client wants a partial answer: it is refused if all of them would pass in
            waiting.
        :returns: A context manager that yields where the request's use of the model is to be noted while it runs.
        :raises OverloadedError: If too much is waiting already.
        """
        backlog, most = self.backlog, ADMITTED_SHARE * self.max_wait
        excess = max(backlog + min(self._pace * expected, most / 2) - most, backlog - deadline)
        if self.requests and (self.requests >= self.max_requests or excess > 0):
            raise OverloadedError(
                f"{self.requests} requests are waiting already, which take about {backlog:.1f} s: try again after the time "
                "in Retry-After",
                retry_after=min(max(excess, SHORTEST_WAIT), LONGEST_WAIT),
            )
        self._count += 1
        number, usage = self._count, Usage()
        self._admitted[number] = expected, usage
        try:
            yield usage
            if expected > 0:  # the speed of the model was known
                self._note(expected, usage.seconds)
        finally:
            del self._admitted[number]

    @property
    def requests(self) -> int:
        """Number of requests that were let in and have not ended."""
        return len(self._admitted)

    @property
    def backlog(self) -> float:
        """Seconds of the model that the admitted requests are still expected to take."""
        pace = self._pace
        return sum(max(0.0, pace * expected - usage.seconds) for expected, usage in self._admitted.values())

    @property
    def _pace(self) -> float:
        """Seconds that a request takes for every second that was expected."""
        expected, taken = (sum(column) for column in zip(*self._done, strict=True)) if self._done else (0.0, 0.0)
        if taken < LEAST_SECONDS or expected <= 0:
            return 1.0
        return min(max(taken / expected, LOWEST_PACE), HIGHEST_PACE)

    def _note(self, expected: float, taken: float) -> None:
        self._done.append((expected, taken))
        total = sum(seconds for _, seconds in self._done)
        while len(self._done) > 1 and total - self._done[0][1] > PACE_SECONDS:
            total -= self._done.popleft()[1]
