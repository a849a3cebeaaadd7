"""What is known about running work: its step, the units done, the activity, and the remaining time."""

from rerank_plugin.cli.estimate import Clock, Estimate, duration
from rerank_plugin.cli.printing import printable


class ProgressState:
    """
    The progress of a command, which may have several steps, one after the other.

    :param clock: Returns the time in seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._estimates: dict[str, Estimate] = {}
        self.step = ""
        self.activity = ""

    def begin(self, step: str) -> None:
        """
        Begin a step whose number of units is not known yet.

        :param step: Its name.
        """
        self.step = printable(step)
        self._estimates.setdefault(self.step, Estimate(self._clock))

    def update(self, step: str, done: int, total: int) -> None:
        """
        Take note of the progress of a step.

        :param step: Its name.
        :param done: Units done.
        :param total: Units in total.
        """
        self.begin(step)
        self._estimates[self.step].update(done, total)

    def counts(self, step: str) -> tuple[int, int | None]:
        """
        Return the units of a step that are done, and those in total; `None` if that is not known yet.

        :param step: Its name, as `printable` returns it.
        """
        estimate = self._estimates[step]
        return estimate.done, estimate.total or None

    def remaining(self, step: str) -> str:
        """
        Return the remaining time of a step in words.

        :param step: Its name, as `printable` returns it.
        """
        estimate = self._estimates[step]
        # Finished, or its number of units is not known yet, or there is a single one, before whose end there is no rate.
        if estimate.done >= estimate.total or estimate.total == 1:
            return ""
        seconds = estimate.remaining()
        return "no estimate yet" if seconds is None else f"about {duration(seconds)} left"

    def line(self) -> str:
        """Return the current step on one line; empty before the first."""
        if not self.step:
            return ""
        estimate = self._estimates[self.step]
        parts = []
        if estimate.total:
            share = 100 * estimate.done // estimate.total
            parts.append(f"{estimate.done:,} of {estimate.total:,} ({share} %)")
        parts += [part for part in (self.activity, self.remaining(self.step)) if part]
        return ": ".join([self.step, *([", ".join(parts)] if parts else [])])
