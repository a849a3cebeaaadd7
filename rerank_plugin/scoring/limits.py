"""How long a call may take: its deadline, and the expected cost of the next batch."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf

# Weight of a batch that took longer than estimated. A faster batch replaces the estimate at once: an estimate that is too
# low costs one batch of overrun, one that is too high leaves candidates unscored although there is time.
RISE = 0.2

# How many times its own duration a call may be overtaken by shorter ones. Three long ones at a time take three times as long
# each, and an estimate may be too low.
PATIENCE = 5
# How many times its own duration before the answer is due a call is overtaken no more: an estimate may be too low, and some
# of what is more urgent goes first all the same.
LEAD = 2


_should_stop: ContextVar[Callable[[], bool] | None] = ContextVar("should_stop", default=None)


class ScoringStoppedError(Exception):
    """The caller cancelled the call before everything was scored."""


@dataclass
class Usage:
    """
    What a call has taken so far.

    :ivar seconds: Of the model: the call's share of the batches with its pieces. Waiting for other calls is not counted.
    :ivar tokenizing: Seconds of turning texts into token ids.
    """

    seconds: float = 0.0
    tokenizing: float = 0.0


@contextmanager
def stoppable(should_stop: Callable[[], bool]) -> Iterator[None]:
    """
    Let whoever runs a pipeline stop the scoring within it: components take no such argument.

    :param should_stop: Asked between batches of the calls that are made inside the `with` block, in this thread or task.
    """
    token = _should_stop.set(should_stop)
    try:
        yield
    finally:
        _should_stop.reset(token)


class CallLimits:
    """
    When a call has to end. Checked between units of work.

    The deadline never prevents the first batch of a call: a late answer that is partly reranked is worth more than a
    punctual one that is not reranked at all.

    :param budget: Seconds that the call may take; `None`: no limit.
    :param began: When the call arrived, by `clock`; `None`: now.
    :param should_stop: Returns whether the caller has cancelled the call; `None`: that of `stoppable`, if there is one.
    :param clock: Returns seconds.
    :param priority: Lower values are more urgent: a call waits as if it had arrived so many seconds later.
    :param usage: Kept up to date while the call runs; `None`: one of its own.
    :param due: Seconds after its arrival in which the answer is wanted. It is no limit, but moves the call forward in time.
    :ivar started: Whether the call has any result: a batch was given to the model, or a score came from the cache.
    :ivar expected: Seconds that the model is expected to need for the whole call.
    """

    def __init__(
        self,
        budget: float | None = None,
        *,
        began: float | None = None,
        should_stop: Callable[[], bool] | None = None,
        priority: float = 0,
        clock: Callable[[], float] = time.perf_counter,
        usage: Usage | None = None,
        due: float = inf,
    ) -> None:
        self.clock = clock
        self.due = due
        self.usage = usage or Usage()
        self.priority = priority
        self.expected = 0.0
        self.began = clock() if began is None else began
        self.deadline = None if budget is None else self.began + budget
        self.started = False
        self._should_stop = should_stop or _should_stop.get()

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
        """Whether the deadline has passed and the call has any result (see `started`)."""
        return self.started and self.remaining <= 0

    def would_overrun(self, seconds: float) -> bool:
        """Return whether work of so many seconds must no longer begin."""
        return self.started and (self.is_over or self.remaining < seconds)

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller has cancelled the call."""
        return self._should_stop is not None and self._should_stop()

    def check_cancelled(self) -> None:
        """
        Check for cancellation.

        :raises ScoringStoppedError: If the caller has cancelled the call.
        """
        if self.is_cancelled:
            raise ScoringStoppedError

    def credit(self, seconds: float) -> None:
        """Move the deadline by the seconds that loading a model took: they do not count against the budget."""
        if self.deadline is not None:
            self.deadline += seconds

    def share(self, fraction: float) -> "CallLimits":
        """Return limits for a preparation that may take this fraction of the time that is left."""
        limits = CallLimits(
            began=self.began,
            should_stop=self._should_stop,
            priority=self.priority,
            clock=self.clock,
            usage=self.usage,
            due=self.due,
        )
        if self.deadline is not None:
            limits.deadline = self.clock() + max(0.0, self.remaining) * fraction
        return limits

    @property
    def turn(self) -> float:
        """
        The place of a waiting call in the queue: the lowest value gets the model first.

        A call waits as if it had arrived later, by `PATIENCE` times what it is expected to take. So a short one overtakes a
        long one, also where several long ones share the model and each takes several times as long as alone; and a long one
        is overtaken only until it has waited for so long, or, where the answer is wanted within `due` seconds, until `LEAD`
        times its duration before. A call with a deadline goes by its arrival until it has a result, and by its deadline
        afterwards if that is earlier.
        """
        arrival = self.began + self.priority
        latest = arrival + min(PATIENCE * self.expected, max(0.0, self.due - LEAD * self.expected))
        if self.deadline is None:
            return latest
        return min(self.deadline + self.priority, latest) if self.started else arrival


class CostModel:
    """
    Estimates the time of a batch from the time per token of recent batches.

    It learns only from batches that ran, and leaves out the first of each shape: libraries prepare kernels for a new shape,
    and everything is slow right after loading. Used by one thread at a time.

    :param batch_cost: Fixed cost of a batch, in tokens.
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
        Update the estimate with batches that ran, one after another or in parallel.

        :param shapes: Rows and width of each batch.
        :param seconds: Time that they took together.
        """
        # Classes by powers of two: on a backend that takes any shape, nearly every exact shape would count as cold.
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
        """Return the expected time of batches with so many tokens, padding included; 0 if nothing is known."""
        return (self._seconds_per_token or 0.0) * (tokens + batches * self._batch_cost)

    def tokens_within(self, seconds: float) -> float:
        """Return how many tokens a batch may have to take at most so many seconds; infinite if nothing is known."""
        if not self._seconds_per_token:
            return inf
        return seconds / self._seconds_per_token - self._batch_cost
