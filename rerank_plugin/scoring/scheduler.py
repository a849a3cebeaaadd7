"""One queue for everything that asks for scores: which batch is scored next, for whom."""

import threading
from collections import deque
from collections.abc import Callable, Iterator

from rerank_plugin.scoring.backends import logits_of
from rerank_plugin.scoring.forking import renew_after_fork
from rerank_plugin.scoring.limits import ScoringStoppedError
from rerank_plugin.scoring.tokens import Features
from rerank_plugin.scoring.work import Lane, SharedBatch, Work

# A waiting call looks at its own limits every so many seconds; the leading one looks at those of all between batches.
POLL = 0.25
# A call without any result gives up after this many looks past its deadline: 10 seconds. Other calls run one small batch
# each before it, so only a hanging model delays it longer. Looks are counted, not seconds: a suspended process loses none.
LOOKS_AFTER_DEADLINE = 40


class Scheduler:
    """
    Shares the processors between calls, batch by batch.

    It has no thread of its own. One of the calling threads leads: it scores batch after batch, each for the most urgent
    call (see `CallLimits.turn`), until its own pieces are scored; then another one leads. A batch gets as many
    pieces of other calls more as one batch fewer saves.
    """

    def __init__(self) -> None:
        self._observers: list[Callable[[SharedBatch], None]] = []
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Forget the calls of the parent: their threads do not exist here."""
        self._lock = threading.Lock()
        # What each call waits for: that it is done, or that it is to lead.
        self._works: dict[Work, threading.Condition] = {}
        self._is_led = False

    @property
    def calls(self) -> int:
        """Number of calls that wait or are being scored."""
        return len(self._works)

    def observe(self, observer: Callable[[SharedBatch], None]) -> None:
        """
        Have every scored batch told.

        :param observer: Called in the thread that scores, so it must be quick and must not raise. One that equals another
            is told once.
        """
        if observer not in self._observers:
            self._observers = [*self._observers, observer]  # a list that another thread may be going through stays as it is

    def forget(self, observer: Callable[[SharedBatch], None]) -> None:
        """Tell an observer no more."""
        self._observers = [other for other in self._observers if other != observer]

    def run(self, work: Work) -> None:
        """
        Score the pieces of a call, until all are scored or its limits end it.

        :param work: The pieces; their logits are kept there.
        :raises ScoringStoppedError: If the call was cancelled.
        :raises Exception: Whatever the backend raised for a batch with one of the pieces.
        """
        with self._lock:
            changed = self._works[work] = threading.Condition(self._lock)
        try:
            while self._leads(work, changed):
                try:
                    self._lead(work)
                finally:
                    with self._lock:
                        self._is_led = False
        finally:
            with self._lock:
                del self._works[work]
                work.stop()
                self._find_leader()
        if work.error is not None:
            raise work.error

    def _leads(self, work: Work, changed: threading.Condition) -> bool:
        """Wait until a call is to lead, and return `True`; or until it is done or its limits end it."""
        looks_left = LOOKS_AFTER_DEADLINE
        with self._lock:
            while True:
                _end_if_over(work)
                if work.is_done or looks_left <= 0:
                    return False
                if not self._is_led:
                    self._is_led = True
                    return True
                remaining = work.limits.remaining
                if not changed.wait(min(POLL, remaining) if remaining > 0 else POLL):
                    looks_left -= work.limits.remaining <= 0

    def _find_leader(self) -> None:
        if not self._is_led and (head := self._most_urgent()) is not None:
            self._works[head].notify()

    def _end_what_is_over(self) -> None:
        for work, changed in self._works.items():
            if _end_if_over(work) and work.is_done:
                changed.notify()

    def _lead(self, mine: Work) -> None:
        """Score batches until all pieces of a call are handed out and scored."""
        while True:
            with self._lock:
                head = self._most_urgent()
                if not mine.waits or head is None:
                    return
                batches = self._planned_batches(head.lane)
            self._score(head.lane, mine, batches)

    def _planned_batches(self, lane: Lane) -> int:
        """Count the batches that wait for a model: with several, a backend may score some of them at the same time."""
        works = [work for work in self._works if work.waits and work.lane is lane]
        for work in works:
            work.next_batch(len(works))
        return sum(work.planned for work in works)

    def _score(self, lane: Lane, mine: Work, count: int) -> None:
        """Score batches of one model, as long as it is that of the most urgent call and the leader's pieces wait."""
        under_way: deque[SharedBatch] = deque()
        shapes: list[tuple[int, int]] = []
        clock = mine.limits.clock
        began = last = clock()
        try:
            for logits in logits_of(lane.backend, self._features(lane, mine, under_way), count):
                batch = under_way.popleft()
                last, taken = clock(), clock() - last
                with self._lock:
                    for (work, position), logit in zip(batch.pieces, logits.tolist(), strict=True):
                        work.limits.usage.seconds += taken / len(batch.pieces)
                        work.deliver(position, logit)
                        if work.is_done:
                            self._wake(work)
                shapes.append((len(batch.pieces), batch.width))
                for observer in self._observers:
                    observer(batch)
        except Exception as error:  # noqa: BLE001 - it belongs to the calls whose pieces were scored, and is raised there
            if not under_way:  # before any batch
                with self._lock:
                    mine.fail(error)
            self._give_back(under_way, error)
        except BaseException:
            self._give_back(under_way)
            raise
        lane.cost.learn(shapes, clock() - began)

    def _give_back(self, under_way: deque[SharedBatch], error: Exception | None = None) -> None:
        with self._lock:
            for work, position in [piece for batch in under_way for piece in batch.pieces]:
                work.put_back([position])
            for work in {id(work): work for batch in under_way for work, _ in batch.pieces}.values():
                if error is not None:
                    work.fail(error)
                    self._wake(work)

    def _wake(self, work: Work) -> None:
        if (changed := self._works.get(work)) is not None:
            changed.notify()

    def _features(self, lane: Lane, mine: Work, under_way: deque[SharedBatch]) -> Iterator[Features]:
        while True:
            with self._lock:
                batch = self._next_batch(lane, sum(batch.tokens for batch in under_way)) if mine.waits else None
                if batch is None:
                    return
                under_way.append(batch)
            yield batch.features()

    def _most_urgent(self) -> Work | None:
        return min((work for work in self._works if work.waits), key=lambda work: work.limits.turn, default=None)

    def _next_batch(self, lane: Lane, tokens_under_way: int) -> SharedBatch | None:
        """Take the next batch of the most urgent call, filled up by others; `None` if that call needs another model."""
        self._end_what_is_over()
        while (head := self._most_urgent()) is not None and head.lane is lane:
            planned = head.next_batch(sum(work.waits for work in self._works))
            seconds = lane.cost.seconds(tokens_under_way + planned.tokens)
            if head.limits.would_overrun(seconds):
                head.stop()
                if head.is_done:
                    self._wake(head)
                continue
            rows = lane.rows_at_little_cost(planned)
            head.take(planned.positions)
            pieces = [(head, position) for position in planned.positions]
            pieces += self._fill(lane, rows - len(pieces), planned.width)
            return SharedBatch(lane, planned.width, pieces)
        return None

    def _fill(self, lane: Lane, rows: int, width: int) -> list[tuple[Work, int]]:
        """Take pieces of other calls for the free rows of a batch, from the most urgent call on."""
        pieces: list[tuple[Work, int]] = []
        for work in sorted(self._works, key=lambda work: work.limits.turn):
            while len(pieces) < rows and work.lane is lane:
                position = work.longest_within(*lane.lengths_like(width))
                if position is None:
                    break
                work.take([position])
                pieces.append((work, position))
        return pieces


def _end_if_over(work: Work) -> bool:
    """Stop a call that was cancelled or has used up its time; returns whether that is so."""
    if work.limits.is_cancelled:
        work.fail(ScoringStoppedError())
    elif work.limits.is_over:
        work.stop()
    else:
        return False
    return True


_shared: dict[str, Scheduler] = {}


def shared_scheduler(device: str) -> Scheduler:
    """Return the scheduler of this process for a device: all models on it take turns, as each uses all of it."""
    return _shared.setdefault(device, Scheduler())
