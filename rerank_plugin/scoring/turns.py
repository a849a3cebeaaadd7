"""Which call may use the model next: one at a time, as each uses all cores, and none blocks the others for long."""

import heapq
import threading
from itertools import count

from rerank_plugin.scoring.limits import CallLimits

# Seconds between two checks of the clock and of cancellation.
POLL = 0.05
# A call without any result gives up after this many checks past its deadline: 10 seconds. Other calls run one small batch
# each before it, so only a hanging model delays it longer. Checks are counted, not seconds: a suspended process loses none.
CHECKS_AFTER_DEADLINE = 200


class Turns:
    """
    A lock with a queue ordered by `CallLimits.turn`.

    The call that holds the turn checks `should_yield` between batches, and returns the turn when a more urgent call waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._tickets = count()

    @property
    def waiting(self) -> int:
        """Number of waiting calls."""
        return len(self._waiting)

    def should_yield(self, limits: CallLimits) -> bool:
        """Return whether a more urgent call than the one with these limits is waiting."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][0] < limits.turn

    def enter(self, limits: CallLimits) -> bool:
        """
        Wait for the turn.

        :param limits: Limits of the call.
        :returns: Whether the call has the turn; `False` if its deadline passed first.
        :raises ScoringStoppedError: If the call was cancelled.
        """
        if limits.is_over:
            return False
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            place = (limits.turn, next(self._tickets), threading.Event())
            heapq.heappush(self._waiting, place)
        checks_left = CHECKS_AFTER_DEADLINE
        try:
            while not place[2].wait(POLL):
                limits.check_cancelled()
                checks_left -= limits.remaining <= 0
                if limits.is_over or checks_left <= 0:
                    self._give_up(place)
                    return False
        except BaseException:
            self._give_up(place)
            raise
        return True

    def leave(self) -> None:
        """Pass the turn to the next call."""
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].set()
            else:
                self._is_taken = False

    def _give_up(self, place: tuple[float, int, threading.Event]) -> None:
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
                heapq.heapify(self._waiting)
                return
        self.leave()  # the turn was passed to us just now
