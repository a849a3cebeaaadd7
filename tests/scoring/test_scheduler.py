import os
import random
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from forked_child import in_child

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.batching import ShapeGrid
from rerank_plugin.scoring.limits import CallLimits, CostModel, ScoringStoppedError
from rerank_plugin.scoring.scheduler import Scheduler, shared_scheduler
from rerank_plugin.scoring.tokens import Pair
from rerank_plugin.scoring.work import Lane, Work


class Recorder:
    """
    Keeps the queries of each batch. A logit is query + 1000 x passage, so that a mix-up shows.

    It stands still until it is let go, fails where it is told to, and can score several batches at once.
    """

    precision = "exact"

    def __init__(self, grid=None, batch_tokens=64):
        self.grid, self.batch_tokens = grid or ShapeGrid(batch_cost=1), batch_tokens
        self.batches, self.shapes, self.errors = [], [], {}
        self.entered, self.go = threading.Event(), threading.Event()
        self.go.set()

    def logits(self, features):
        self.entered.set()
        assert self.go.wait(30)
        ids = features["input_ids"]
        self.batches.append(ids[:, 1].tolist())
        self.shapes.append(ids.shape)
        if (error := self.errors.pop(len(self.batches), None)) is not None:
            raise error
        return (ids[:, 1] + 1000.0 * ids[:, 3]).astype(np.float32)


@pytest.fixture
def lane(tokenizer):
    def make(backend=None, *, max_pairs=None):
        backend = backend or Recorder()
        return Lane(backend, tokenizer, backend.batch_tokens, max_pairs, CostModel(batch_cost=backend.grid.batch_cost))

    return make


def pairs(query, lengths, passage=7):
    """Pairs of so many tokens, three special ones included."""
    return [Pair(np.array([query]), np.full(length - 4, passage)) for length in lengths]


def limits(**more):
    return CallLimits(**more, clock=lambda: 100.0)


@contextmanager
def calls_in_line(scheduler, backend, first, *others):
    """Run a call up to its first batch, queue the others, then let them all go; yields what each call ended with."""
    ends = {}

    def run(number, work):
        try:
            scheduler.run(work)
            ends[number] = None
        except BaseException as error:  # noqa: BLE001
            ends[number] = error

    backend.go.clear()
    threads = [threading.Thread(target=run, args=item) for item in enumerate([first, *others])]
    threads[0].start()
    assert backend.entered.wait(10)
    for count, thread in enumerate(threads[1:], start=2):
        thread.start()
        while scheduler.calls + len(ends) < count:
            thread.join(0.001)
    yield ends
    backend.go.set()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert scheduler.calls == 0


def test_a_call_alone_is_scored_in_its_own_batches(lane):
    mine = lane()
    work = Work(mine, pairs(5, [16] * 10), limits())
    Scheduler().run(work)
    assert [len(batch) for batch in mine.backend.batches] == [4, 4, 2]
    assert set(work.logits.tolist()) == {7005.0}


def test_a_short_call_waits_for_the_batch_that_is_being_scored_and_no_other(lane):
    mine, scheduler = lane(), Scheduler()
    long, short = limits(), limits()
    long.expected, short.expected = 100.0, 1.0
    huge, small = Work(mine, pairs(5, [16] * 400), long), Work(mine, pairs(6, [16] * 4), short)
    with calls_in_line(scheduler, mine.backend, huge, small):
        pass
    assert mine.backend.batches[1] == [6] * 4
    assert not np.isnan(huge.logits).any()


def test_a_short_call_goes_before_several_long_ones_that_share_the_model(lane):
    """Each of them has been at it for twice as long as it was expected to take by itself."""
    mine, scheduler = lane(), Scheduler()
    calls = [limits(began=began) for began in (-100.0, -100.0, -100.0, 100.0)]
    for call, expected in zip(calls, (100.0, 100.0, 100.0, 1.0), strict=True):
        call.expected = expected
    works = [Work(mine, pairs(5 + n, [16] * (4 if n == 3 else 400)), call) for n, call in enumerate(calls)]
    with calls_in_line(scheduler, mine.backend, *works):
        pass
    assert mine.backend.batches[1] == [8] * 4


def test_calls_that_take_as_long_come_in_the_order_of_arrival(lane):
    mine, scheduler = lane(), Scheduler()
    works = [Work(mine, pairs(5 + n, [16] * 8), limits(began=100.0 + n)) for n in range(4)]
    with calls_in_line(scheduler, mine.backend, works[0], *reversed(works[1:])):
        pass
    assert mine.backend.batches == [[5 + n // 2] * 4 for n in range(8)]


def test_a_batch_is_filled_up_by_other_calls(lane):
    mine, scheduler = lane(Recorder(ShapeGrid(batch_cost=56), batch_tokens=128)), Scheduler()
    works = [Work(mine, pairs(5 + n, [16] * 5), limits(began=100.0 + n)) for n in range(3)]
    with calls_in_line(scheduler, mine.backend, works[0], *works[1:]):
        pass
    # The first was alone when it began.
    assert mine.backend.batches[0][:5] == [5] * 5
    assert sorted(mine.backend.batches[1]) == [6] * 5 + [7] * 3
    assert mine.backend.shapes[1:] == [(8, 16), (2, 16)]
    assert all(set(work.logits.tolist()) == {7005.0 + n} for n, work in enumerate(works))


def test_a_batch_grows_by_what_one_batch_fewer_saves(lane):
    mine, scheduler = lane(Recorder(ShapeGrid(batch_cost=48), batch_tokens=256)), Scheduler()
    works = [Work(mine, pairs(5 + n, [16] * 2), limits(began=100.0 + n)) for n in range(4)]
    with calls_in_line(scheduler, mine.backend, works[0], *works[1:]):
        pass
    assert mine.backend.batches[1:] == [[6, 6, 7, 7, 8], [8]]


def test_a_pair_is_never_padded_to_the_width_of_another_call_where_that_changes_its_score(lane):
    grid = ShapeGrid(width_step=16, own_width=True, batch_cost=70)
    mine, scheduler = lane(Recorder(grid, batch_tokens=128)), Scheduler()
    works = [Work(mine, pairs(*item), limits()) for item in [(5, [30] * 6), (6, [10] * 3), (8, [30] * 3)]]
    with calls_in_line(scheduler, mine.backend, *works):
        pass
    kinds = [set(batch) for batch in mine.backend.batches]
    assert {5, 8} in kinds
    assert not any(6 in kind and len(kind) > 1 for kind in kinds)
    assert not np.isnan(np.concatenate([work.logits for work in works])).any()


def test_calls_of_several_models_go_by_the_same_queue(lane):
    mine, theirs, scheduler = lane(), lane(), Scheduler()
    works = [Work(mine, pairs(5, [16] * 12), limits(began=100.0)), Work(theirs, pairs(6, [16] * 8), limits(began=99.0))]
    with calls_in_line(scheduler, mine.backend, *works):
        pass
    assert [len(batch) for batch in mine.backend.batches] == [4, 4, 4]
    assert [len(batch) for batch in theirs.backend.batches] == [4, 4]
    assert not np.isnan(np.concatenate([work.logits for work in works])).any()


def test_a_batch_that_fails_fails_the_calls_in_it_and_no_other(lane):
    mine, scheduler = lane(), Scheduler()
    works = [Work(mine, pairs(5 + n, [16] * 8), limits(began=100.0 + n)) for n in range(3)]
    mine.backend.errors[3] = MemoryError("too large")
    with calls_in_line(scheduler, mine.backend, works[0], *works[1:]) as ends:
        pass
    assert ends[0] is None
    assert isinstance(ends[1], MemoryError)
    assert ends[2] is None
    assert not np.isnan(works[2].logits).any()


def test_an_interrupt_of_the_leading_thread_loses_nothing_of_the_others(lane):
    mine, scheduler = lane(Recorder(ShapeGrid(batch_cost=56), batch_tokens=128)), Scheduler()
    works = [Work(mine, pairs(5 + n, [16] * 6), limits(began=100.0 + n)) for n in range(3)]
    mine.backend.errors[2] = KeyboardInterrupt()  # a batch with pieces of the second and the third
    with calls_in_line(scheduler, mine.backend, works[0], *works[1:]) as ends:
        pass
    interrupted = [number for number, end in ends.items() if end is not None]
    assert len(interrupted) == 1
    for number in set(range(3)) - set(interrupted):
        assert set(works[number].logits.tolist()) == {7005.0 + number}


def test_a_model_that_fails_before_its_first_batch_fails_the_call(lane, monkeypatch):
    def refuse():
        raise ModelError("loaded before this process was forked")

    monkeypatch.setattr("rerank_plugin.scoring.backends.backend.check_same_process", refuse)
    with pytest.raises(ModelError, match="forked"):
        Scheduler().run(Work(lane(), pairs(5, [16]), limits()))


@pytest.mark.parametrize("grid", [ShapeGrid(), ShapeGrid(width_step=16, own_width=True)])
def test_pairs_that_are_longer_than_a_batch_are_scored_one_by_one(lane, grid):
    mine = lane(Recorder(grid, batch_tokens=1))
    work = Work(mine, pairs(5, [16, 20, 30]), limits())
    Scheduler().run(work)
    assert [len(batch) for batch in mine.backend.batches] == [1, 1, 1]
    assert set(work.logits.tolist()) == {7005.0}


def test_a_score_that_is_not_finite_ends_its_own_call_only(lane):
    mine, scheduler = lane(), Scheduler()
    broken = Work(mine, pairs(5, [16] * 8, passage=np.iinfo(np.int64).max), limits())
    mine.backend.logits = lambda features: np.where(features["input_ids"][:, 3] > 9999, np.inf, 1).astype(np.float32)
    scheduler.run(broken)
    assert broken.invalid is not None
    assert broken.invalid[1] == np.inf
    fine = Work(mine, pairs(6, [16]), limits())
    scheduler.run(fine)
    assert fine.logits.tolist() == [1.0]


def test_a_cancelled_call_leaves_the_queue(lane):
    mine, scheduler, cancelled = lane(), Scheduler(), threading.Event()
    works = [
        Work(mine, pairs(5, [16] * 4), limits()),
        Work(mine, pairs(6, [16] * 4), limits(began=101.0, should_stop=cancelled.is_set)),
        Work(mine, pairs(7, [16] * 4), limits(began=102.0)),
    ]
    with calls_in_line(scheduler, mine.backend, *works) as ends:
        cancelled.set()
        while 1 not in ends:
            threading.Event().wait(0.001)
    assert isinstance(ends[1], ScoringStoppedError)
    assert mine.backend.batches == [[5] * 4, [7] * 4]


def test_a_call_with_a_result_does_not_wait_beyond_its_deadline(lane):
    mine, scheduler = lane(), Scheduler()
    late = CallLimits(0.5, began=99.0, clock=lambda: 100.0)
    late.started = True
    works = [Work(mine, pairs(5, [16] * 4), limits()), Work(mine, pairs(6, [16] * 4), late)]
    with calls_in_line(scheduler, mine.backend, *works) as ends:
        while 1 not in ends:
            threading.Event().wait(0.001)
    assert np.isnan(works[1].logits).all()
    assert mine.backend.batches == [[5] * 4]


def test_a_call_without_a_result_waits_for_its_first_batch(lane):
    mine, scheduler = lane(), Scheduler()
    late = CallLimits(0.5, began=99.0, clock=lambda: 100.0)
    works = [Work(mine, pairs(5, [16] * 8), limits()), Work(mine, pairs(6, [16] * 40), late)]
    with calls_in_line(scheduler, mine.backend, *works):
        pass
    assert 0 < (~np.isnan(works[1].logits)).sum() <= 4  # of the first stage's best
    assert not np.isnan(works[1].logits[0])


@pytest.mark.slow
def test_2000_concurrent_calls_each_get_their_own_scores(lane, tokenizer):
    """Texts that name themselves: no score is ever another call's."""
    grid = ShapeGrid(width_step=8, batch_cost=64)
    lanes, scheduler = (
        [lane(Recorder(grid, batch_tokens=256)), lane(Recorder(grid, batch_tokens=96), max_pairs=5)],
        Scheduler(),
    )
    wrong, chance = [], random.Random(1)
    plans = [
        [
            (chance.randrange(5, 60), chance.randrange(60, 90), chance.randrange(5, 64))
            for _ in range(chance.randrange(1, 30))
        ]
        for _ in range(2000)
    ]

    def call(numbers):
        for number in numbers:
            pieces = [Pair(np.array([q]), np.full(length - 4, p)) for q, p, length in plans[number]]
            budget = chance.choice([None, None, 1e-9])
            work = Work(lanes[number % 2], pieces, CallLimits(budget, priority=number % 3))
            scheduler.run(work)
            known = ~np.isnan(work.logits)
            expected = np.array([q + 1000.0 * p for q, p, _ in plans[number]], dtype=np.float32)
            if not known.any() or (budget is None and not known.all()) or (work.logits[known] != expected[known]).any():
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(range(n, 2000, 24),)) for n in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert scheduler.calls == 0


def test_scored_batches_are_told(lane):
    mine, scheduler, told = lane(), Scheduler(), []
    scheduler.observe(told.append)
    scheduler.run(Work(mine, pairs(5, [16] * 6), limits()))
    assert [(batch.width, len(batch.pieces)) for batch in told] == [(16, 4), (16, 2)]
    scheduler.forget(told.append)
    scheduler.run(Work(mine, pairs(5, [16]), limits()))
    assert len(told) == 2


class Slow(Recorder):
    """Every batch takes eight seconds."""

    now = 0.0

    def logits(self, features):
        self.now += 8
        return super().logits(features)


def test_calls_share_the_time_of_a_batch_by_their_pieces(lane):
    backend, scheduler = Slow(ShapeGrid(batch_cost=48), batch_tokens=256), Scheduler()
    mine = lane(backend)
    calls = [CallLimits(began=100.0 + n, clock=lambda: backend.now) for n in range(4)]
    works = [Work(mine, pairs(5 + n, [16] * 2), call) for n, call in enumerate(calls)]
    with calls_in_line(scheduler, backend, works[0], *works[1:]):
        pass
    assert backend.batches == [[5, 5], [6, 6, 7, 7, 8], [8]]
    assert [call.usage.seconds for call in calls] == pytest.approx([8, 3.2, 3.2, 1.6 + 8])


def test_models_of_a_device_share_one_queue():
    assert shared_scheduler("cpu") is shared_scheduler("cpu")
    assert shared_scheduler("cpu") is not shared_scheduler("cuda:0")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_calls(lane):
    mine, scheduler = lane(), Scheduler()
    with calls_in_line(scheduler, mine.backend, Work(mine, pairs(5, [16] * 8), limits())):
        # A model does not run in a fork of the process that loaded it, but neither does anybody wait there.
        assert in_child(lambda: scheduler.run(Work(mine, pairs(6, [16] * 4), limits()))).startswith("ModelError")
