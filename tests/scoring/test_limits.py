from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.scoring.limits import PATIENCE, CallLimits, CostModel, ScoringStoppedError

SHAPE = (16, 128)


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def limits(budget=None, **more):
    return CallLimits(budget, clock=Clock(), **more)


def test_a_call_without_a_budget_is_never_over():
    call = limits()
    call.started = True
    call.clock.now += 1e6
    assert not call.is_timed
    assert not call.is_over
    assert not call.would_overrun(1e9)
    assert call.remaining == inf


def test_t1_the_first_batch_is_never_refused():
    call = limits(0.1)
    call.clock.now += 50
    assert not call.is_over
    assert not call.would_overrun(1e9)
    call.started = True
    assert call.is_over
    assert call.would_overrun(0)


def test_a_batch_that_would_end_after_the_deadline_is_refused():
    call = limits(1.0)
    call.started = True
    assert not call.would_overrun(0.9)
    assert call.would_overrun(1.1)


def test_loading_is_credited():
    call = limits(1.0)
    call.clock.now += 5
    call.credit(5)
    assert call.remaining == pytest.approx(1.0)


def test_a_cancelled_call_is_stopped():
    with pytest.raises(ScoringStoppedError):
        limits(should_stop=lambda: True).check_cancelled()
    limits(should_stop=lambda: False).check_cancelled()


def test_a_share_of_the_time_is_for_preparations_and_is_no_result_yet():
    call = limits(1.0)
    call.started = True
    call.clock.now += 0.2
    part = call.share(0.5)
    assert part.remaining == pytest.approx(0.4)
    assert not part.started
    call.clock.now += 5
    assert call.share(0.5).remaining == 0
    assert not limits().share(0.5).is_timed


def test_the_order_of_waiting_calls():
    clock = Clock()
    empty, begun, long = (CallLimits(budget, clock=clock) for budget in (0.5, 0.5, None))
    begun.started = True
    begun.expected = long.expected = 3.0
    clock.now += 0.1
    newer, short = CallLimits(0.1, clock=clock), CallLimits(clock=clock)
    assert empty.turn < newer.turn == short.turn < begun.turn < long.turn
    clock.now += 3.0 * PATIENCE
    assert long.turn < CallLimits(0.1, clock=clock).turn  # no call waits for ever


def test_a_call_that_is_due_is_overtaken_only_by_what_came_before_its_last_moment():
    clock = Clock()
    patient, promised = CallLimits(clock=clock), CallLimits(clock=clock, due=5.0)
    patient.expected = promised.expected = 1.5
    clock.now += 1.9
    assert CallLimits(clock=clock).turn < promised.turn
    clock.now += 0.2  # twice its duration before it is due
    assert promised.turn < CallLimits(clock=clock).turn < patient.turn
    promised.expected = 4.0
    assert promised.turn == promised.began
    assert promised.share(0.5).due == promised.due


def test_a_call_of_lower_priority_waits_as_if_it_had_come_later():
    clock = Clock()
    first, urgent = CallLimits(priority=2, clock=clock), CallLimits(clock=clock)
    assert urgent.turn < first.turn
    assert first.share(0.5).turn == first.turn
    clock.now += 2.5
    assert first.turn < CallLimits(clock=clock).turn


def known(seconds_per_token, *, batch_cost=0):
    cost = CostModel(batch_cost=batch_cost)
    cost.learn([SHAPE], 99.0)
    cost.learn([SHAPE], seconds_per_token * (16 * 128 + batch_cost))
    return cost


def test_t1_the_first_batch_of_a_shape_is_not_learned_from():
    cost = CostModel()
    cost.learn([SHAPE], 99.0)
    assert not cost.is_known
    assert cost.seconds(2048) == 0.0
    assert cost.tokens_within(0.1) == inf
    cost.learn([SHAPE], 0.1)
    assert cost.seconds(2048) == pytest.approx(0.1)
    cost.learn([(1, 512), SHAPE], 99.0)  # one of the two is cold
    assert cost.seconds(2048) == pytest.approx(0.1)


def test_t1_one_slow_batch_is_forgotten_with_the_next_fast_one():
    cost = known(50e-6)
    cost.learn([SHAPE], 10.0)
    assert cost.seconds(2048) > 0.2
    cost.learn([SHAPE], 50e-6 * 2048)
    assert cost.seconds(2048) == pytest.approx(50e-6 * 2048)


def test_a_machine_that_stays_slower_is_learned_after_some_batches():
    cost = known(50e-6)
    for _ in range(20):
        cost.learn([SHAPE], 500e-6 * 2048)
    assert cost.seconds(2048) == pytest.approx(500e-6 * 2048, rel=0.05)


def test_t1_empty_passages_do_not_raise_the_cost_per_token():
    """16 empty passages are 48 tokens: their time is that of the batch, not of the tokens."""
    cost = CostModel(batch_cost=96)
    for _ in range(2):
        cost.learn([(16, 3)], (48 + 96) * 50e-6)
    assert cost.seconds(2048) == pytest.approx((2048 + 96) * 50e-6)


@given(st.floats(1e-7, 1e-2), st.integers(0, 4096), st.integers(1, 100_000))
def test_tokens_within_a_time_take_that_time(seconds_per_token, batch_cost, tokens):
    cost = known(seconds_per_token, batch_cost=batch_cost)
    assert cost.tokens_within(cost.seconds(tokens)) == pytest.approx(tokens, abs=1e-3)


@pytest.mark.slow
@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=30))
def test_the_expectation_stays_between_what_was_seen(seconds):
    cost = CostModel()
    cost.learn([SHAPE], 1.0)
    for value in seconds:
        cost.learn([SHAPE], value)
    assert min(seconds) * 0.999 <= cost.seconds(2048) <= max(seconds) * 1.001
