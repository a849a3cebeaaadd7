"""What waits to be scored: pieces of one call, and the model that scores them."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from rerank_plugin.scoring.backends import Backend
from rerank_plugin.scoring.batching import Batch, plan_batches
from rerank_plugin.scoring.limits import CallLimits, CostModel
from rerank_plugin.scoring.tokens import Features, Pair, PairTokenizer

# Tokens planned into batches together: enough to find pairs of similar length, and 1 MB of memory.
PLANNED_TOKENS = 131_072
# The same for a call with a deadline while the speed is still unknown.
FIRST_TOKENS = 1024


@dataclass(frozen=True)
class Lane:
    """
    A model, and what its batches may look like.

    :param backend: Runs the network.
    :param tokenizer: Makes its inputs.
    :param max_tokens: Maximum tokens of a batch, padding included.
    :param max_pairs: Maximum pairs of a batch; `None`: limited by tokens only.
    :param cost: What its batches take.
    """

    backend: Backend
    tokenizer: PairTokenizer
    max_tokens: int
    max_pairs: int | None
    cost: CostModel

    def tokens_worth_planning(self, limits: CallLimits, *, callers: int = 1) -> float:
        """
        Return the tokens of a call to score before its limits are checked again.

        With a deadline this is about half of the time that is left, in first-stage order: if the machine turns out slower
        than expected, the best candidates are not the ones left unscored. Waiting callers share the time.
        """
        if not limits.is_timed:
            return PLANNED_TOKENS
        if not self.cost.is_known:
            return FIRST_TOKENS / callers
        whole_batch = self.cost.seconds(self.max_tokens)
        seconds = max(limits.remaining / 2, min(limits.remaining, whole_batch))
        return min(PLANNED_TOKENS, self.cost.tokens_within(seconds / callers))

    def plan(self, lengths: Sequence[int]) -> list[Batch]:
        """Group pairs of these lengths into batches; see `plan_batches`."""
        return plan_batches(
            lengths,
            max_tokens=self.max_tokens,
            max_pairs=self.max_pairs or len(lengths),
            grid=self.backend.grid,
            max_width=self.tokenizer.input_spec.max_length,
        )

    def rows_at_little_cost(self, batch: Batch) -> int:
        """Return how many rows a batch may have if others add no more than one batch fewer saves."""
        tokens = min(self.max_tokens, batch.tokens + self.backend.grid.batch_cost)
        rows = min(tokens // batch.width, self.max_pairs or tokens)
        return max(len(batch.positions), rows)  # a pair may be longer than a batch

    def lengths_like(self, width: int) -> tuple[int, int]:
        """Return the shortest and longest pair that may be padded to a width."""
        grid = self.backend.grid
        return (max(0, width - grid.width_step + 1) if grid.own_width else 0), width


class Work:
    """
    Pieces of one call that wait for their logits. The scheduler's lock guards it.

    :param lane: The model that scores them.
    :param pairs: The pieces, in first-stage order.
    :param limits: When the call has to end.
    :ivar logits: Shape (pieces,), float32: `nan` where a piece was not scored.
    :ivar invalid: A piece whose logit is not finite, and the logit; `None` if there is none.
    :ivar error: What the model failed with.
    """

    def __init__(self, lane: Lane, pairs: Sequence[Pair], limits: CallLimits) -> None:
        self.lane, self.pairs, self.limits = lane, pairs, limits
        self.logits = np.full(len(pairs), np.nan, dtype=np.float32)
        self.invalid: tuple[int, float] | None = None
        self.error: BaseException | None = None
        self._lengths = [lane.tokenizer.length(pair) for pair in pairs]
        self._waiting = dict.fromkeys(range(len(pairs)))  # a set in order
        self._by_length = sorted((length, position) for position, length in enumerate(self._lengths))
        self._plan: list[Batch] = []
        self._under_way = 0

    @property
    def waits(self) -> bool:
        """Whether there are pieces to be handed out."""
        return bool(self._waiting)

    @property
    def is_done(self) -> bool:
        """Whether nothing waits and nothing is being scored, or the call has failed."""
        return self.error is not None or not (self._waiting or self._under_way)

    @property
    def planned(self) -> int:
        """The number of batches that its waiting pieces are planned into, as far as they are planned."""
        return len(self._plan)

    def stop(self) -> None:
        """Hand no more pieces out. Those that are being scored still get their logits."""
        self._waiting.clear()
        self._by_length.clear()
        self._plan.clear()

    def fail(self, error: BaseException) -> None:
        """Stop with an error."""
        self.error = self.error or error
        self.stop()

    def next_batch(self, callers: int) -> Batch:
        """
        Return the batch of its pieces to score next; see `take`.

        :param callers: Number of calls that share the time, for a call with a deadline.
        """
        alone = not self.limits.is_timed or (callers == 1 and self.limits.remaining > 0)
        if not self._plan or not alone:
            most = inf if alone else self.lane.tokens_worth_planning(self.limits, callers=callers)
            self._plan = self._batches_of(self._first(most))
        return self._plan[0]

    def _first(self, most: float) -> list[int]:
        """Return the first waiting pieces with at most so many tokens, and at least one."""
        positions = list(self._waiting)
        if most == inf:
            return positions
        totals = np.cumsum([self._lengths[position] for position in positions])
        return positions[: max(1, int(np.searchsorted(totals, most, side="right")))]

    def _batches_of(self, positions: Sequence[int]) -> list[Batch]:
        batches = self.lane.plan([self._lengths[position] for position in positions])
        return [replace(batch, positions=[positions[i] for i in batch.positions]) for batch in batches]

    def longest_within(self, shortest: int, longest: int) -> int | None:
        """Return the longest waiting piece of a length in this range."""
        place = bisect_right(self._by_length, (longest, len(self.pairs))) - 1
        return self._by_length[place][1] if place >= 0 and self._by_length[place][0] >= shortest else None

    def take(self, positions: Sequence[int]) -> None:
        """Hand pieces out."""
        # Pieces that fill up the batch of another call leave a hole in the plan.
        self._plan = self._plan[1:] if self._plan and self._plan[0].positions == positions else []
        for position in positions:
            del self._waiting[position]
            del self._by_length[bisect_left(self._by_length, (self._lengths[position], position))]
        self._under_way += len(positions)
        self.limits.started = True

    def put_back(self, positions: Sequence[int]) -> None:
        """Take pieces back that were handed out and not scored."""
        self._under_way -= len(positions)
        self._waiting = dict.fromkeys(sorted([*self._waiting, *positions]))
        self._by_length = sorted([*self._by_length, *((self._lengths[position], position) for position in positions)])
        self._plan = []

    def deliver(self, position: int, logit: float) -> None:
        """Keep the logit of a piece that was handed out; one that is not finite ends the work."""
        self._under_way -= 1
        if np.isfinite(logit):
            self.logits[position] = logit
        else:
            self.invalid = (position, logit)
            self.stop()


@dataclass(frozen=True)
class SharedBatch:
    """
    Pieces of one or several calls that are scored together.

    :param lane: Their model.
    :param width: Tokens to which each piece is padded.
    :param pieces: Work and position of each, one a row.
    """

    lane: Lane
    width: int
    pieces: list[tuple[Work, int]]

    @property
    def tokens(self) -> int:
        """Its tokens, padding included."""
        return len(self.pieces) * self.width

    def features(self) -> Features:
        """Return its arrays."""
        pairs = [work.pairs[position] for work, position in self.pieces]
        return self.lane.tokenizer.features(pairs, width=self.width)
