"""How long a step of work will take: from the rate at which its units were done so far."""

from collections import deque
from collections.abc import Callable

Clock = Callable[[], float]

# The rate is that of the last seconds: files differ in size, and the first ones pay for what is loaded.
_WINDOW = 60.0


class Estimate:
    """
    Estimates the remaining time of a step.

    :param clock: Returns the time in seconds, such as `time.monotonic`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()
        self.done = 0
        self.total = 0

    def update(self, done: int, total: int) -> None:
        """
        Take note of the progress.

        Neither what was done before the first call (by an interrupted run) counts for the rate, nor the time until the last
        call before anything was done (in which models are loaded).

        :param done: Units done.
        :param total: Units in total; 0 if unknown.
        """
        self.done, self.total = done, total
        now = self._clock()
        if self._samples and self._samples[0][1] == done:
            self._samples.clear()
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:
            self._samples.popleft()

    def remaining(self) -> float | None:
        """Return the remaining seconds; `None` as long as nothing was done that a rate could be taken from."""
        if not self._samples or self.done >= self.total:
            return None
        (began, before), (last, _) = self._samples[0], self._samples[-1]
        done, left, now = self.done - before, self.total - self.done, self._clock()
        if done <= 0 or last <= began:
            return None
        # Between two reports the time runs down, but not to nothing: the next report may be late.
        return max(left * (last - began) / done - (now - last), left * (now - began) / done / 2)


def duration(seconds: float) -> str:
    """
    Return a duration as a person would say it: no more exact than an estimate can be.

    :param seconds: The duration.
    """
    if seconds < 10:
        return f"{max(round(seconds), 1)} s"
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(5 * round(minutes / 5), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
