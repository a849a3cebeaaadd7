"""Who may use the model next: one call at a time, as each uses all cores, and none for longer than others can wait."""

import heapq
import threading
from itertools import count

from rerank_plugin.scoring.limits import CallLimits

# Seconds between two looks at the clock and at whether the caller has lost interest.
POLL = 0.05
# Looks after the deadline until a call gives up that has got nothing yet: 10 seconds. Others have one small batch each
# before it; only a model that hangs keeps it waiting longer. A process that was stopped misses seconds, but no looks.
LOOKS_AFTER_DEADLINE = 200


class Turns:
    """
    A lock with a queue that is ordered by `CallLimits.turn`.

    Whoever has the turn asks `should_yield` between batches, and gives it back when a more urgent call waits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: list[tuple[float, int, threading.Event]] = []
        self._tickets = count()

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._waiting)

    def should_yield(self, limits: CallLimits) -> bool:
        """Say whether a call waits that goes before the one with these limits."""
        with self._lock:
            return bool(self._waiting) and self._waiting[0][0] < limits.turn

    def enter(self, limits: CallLimits) -> bool:
        """
        Wait for the turn.

        :param limits: Of the call.
        :returns: Whether the call has the turn; `False` if its deadline passed first.
        :raises ScoringStoppedError: If the caller lost interest.
        """
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return True
            place = (limits.turn, next(self._tickets), threading.Event())
            heapq.heappush(self._waiting, place)
        looks = LOOKS_AFTER_DEADLINE
        try:
            while not place[2].wait(POLL):
                limits.check_cancelled()
                looks -= limits.remaining <= 0
                if limits.is_over or looks <= 0:
                    self._give_up(place)
                    return False
        except BaseException:
            self._give_up(place)
            raise
        return True

    def leave(self) -> None:
        """Give the turn to the call that goes next."""
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
        self.leave()  # the turn was given to us just now
