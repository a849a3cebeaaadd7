"""How long a call may take: its deadline, and what the next batch is expected to cost."""

import time
from collections.abc import Callable, Sequence
from math import inf

# How far an estimate moves towards a batch that took longer than expected. Towards a faster one it moves at once: one that
# is too low costs a batch of overrun, one that is too high would leave candidates unscored although there is time.
RISE = 0.2
# Seconds after which a call without a deadline goes before newer calls that have one.
PATIENCE = 2.0


class ScoringStoppedError(Exception):
    """The caller asked to stop before everything was scored."""


class CallLimits:
    """
    When a call has to end. Asked between two pieces of work.

    The deadline never prevents the first batch of a call: an answer that is late but reranked in part is worth more than one
    that is punctual and empty.

    :param budget: Seconds that the call may take; `None`: as long as it takes.
    :param began: When the call came, as `clock` counts; `None`: now.
    :param should_stop: Says whether the caller has lost interest.
    :param clock: Returns seconds.
    :ivar started: Whether the call has got something: a batch was handed to the model, or a score came from the cache.
    """

    def __init__(
        self,
        budget: float | None = None,
        *,
        began: float | None = None,
        should_stop: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.clock = clock
        self.began = clock() if began is None else began
        self.deadline = None if budget is None else self.began + budget
        self.started = False
        self._should_stop = should_stop

    @property
    def is_timed(self) -> bool:
        """Whether there is a deadline."""
        return self.deadline is not None

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; negative once it has passed, infinite if there is none."""
        return inf if self.deadline is None else self.deadline - self.clock()

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed and the call has got something."""
        return self.started and self.remaining <= 0

    def would_overrun(self, seconds: float) -> bool:
        """Say whether work of so many seconds must not begin any more."""
        return self.started and (self.is_over or self.remaining < seconds)

    def check_cancelled(self) -> None:
        """
        Look whether the caller still wants the result.

        :raises ScoringStoppedError: If not.
        """
        if self._should_stop is not None and self._should_stop():
            raise ScoringStoppedError

    def credit(self, seconds: float) -> None:
        """Move the deadline: so many seconds went into loading a model, which the budget does not pay for."""
        if self.deadline is not None:
            self.deadline += seconds

    def share(self, fraction: float) -> "CallLimits":
        """Return limits for a preparation that may take this fraction of the time that is left."""
        limits = CallLimits(began=self.began, should_stop=self._should_stop, clock=self.clock)
        if self.deadline is not None:
            limits.deadline = self.clock() + max(0.0, self.remaining) * fraction
        return limits

    @property
    def turn(self) -> float:
        """
        The order in which waiting calls get the model: the lowest goes first.

        A call with a deadline that has got nothing yet is served by its arrival; then the earliest deadline counts. Calls
        without a deadline are served one after the other. No call waits behind those that came `PATIENCE` seconds later.
        """
        patient = self.began + PATIENCE
        if self.deadline is None:
            return patient
        return min(self.deadline, patient) if self.started else self.began


class CostModel:
    """
    Expects of a batch the time that its tokens took lately.

    Only batches that ran teach it, and none that was the first of its shape: libraries prepare kernels for a shape that they
    have not seen, and everything is slow right after loading. Used by one thread at a time.

    :param batch_cost: Tokens to which the fixed cost of a batch amounts.
    """

    def __init__(self, *, batch_cost: int = 0) -> None:
        self._batch_cost = batch_cost
        self._seconds_per_token: float | None = None
        self._seen: set[tuple[int, int]] = set()

    @property
    def is_known(self) -> bool:
        """Whether a warm batch has been seen."""
        return self._seconds_per_token is not None

    def learn(self, shapes: Sequence[tuple[int, int]], seconds: float) -> None:
        """
        Take note of batches that ran, one after another or side by side.

        :param shapes: Rows and width of each.
        :param seconds: How long they took together.
        """
        # Powers of two: with every exact shape a first one, a backend that takes any would teach nothing.
        classes = {(rows.bit_length(), width.bit_length()) for rows, width in shapes}
        is_cold = not classes <= self._seen
        self._seen |= classes
        if is_cold or not shapes:
            return
        cost = seconds / sum(rows * width + self._batch_cost for rows, width in shapes)
        if self._seconds_per_token is None or cost < self._seconds_per_token:
            self._seconds_per_token = cost
        else:
            self._seconds_per_token += RISE * (cost - self._seconds_per_token)

    def seconds(self, tokens: int, batches: int = 1) -> float:
        """Return how long batches of so many tokens, padding included, are expected to take; 0 if nothing is known."""
        return (self._seconds_per_token or 0.0) * (tokens + batches * self._batch_cost)

    def tokens_within(self, seconds: float) -> float:
        """Return how many tokens a batch may have to take so long; infinite if nothing is known."""
        if not self._seconds_per_token:
            return inf
        return seconds / self._seconds_per_token - self._batch_cost
