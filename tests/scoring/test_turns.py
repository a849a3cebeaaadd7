import threading
from contextlib import contextmanager

import pytest

from rerank_plugin.scoring.limits import CallLimits, ScoringStoppedError
from rerank_plugin.scoring.turns import Turns


@contextmanager
def waiting(turns, *calls, timeout=10):
    """Threads that wait for their turns; yields the list of the positions of those that had one, in order."""
    order, failures = [], []

    def wait(position, limits):
        try:
            if turns.enter(limits):
                order.append(position)
                turns.leave()
            else:
                order.append(f"{position} gave up")
        except ScoringStoppedError:
            failures.append(position)

    threads = [threading.Thread(target=wait, args=item) for item in enumerate(calls)]
    for count, thread in enumerate(threads, start=1):
        thread.start()
        while turns.waiting < count and thread.is_alive():
            thread.join(0.001)
    yield order, failures
    for thread in threads:
        thread.join(timeout)
    assert not any(thread.is_alive() for thread in threads)


def test_waiting_calls_go_by_their_order_not_by_their_arrival():
    turns, now = Turns(), 1000.0
    clock = lambda: now  # noqa: E731
    mine = CallLimits(clock=clock)
    assert turns.enter(mine)
    calls = [CallLimits(clock=clock), CallLimits(5.0, clock=clock), CallLimits(0.5, clock=clock)]
    calls[1].started = calls[2].started = True
    with waiting(turns, *calls) as (order, _):
        assert turns.should_yield(mine)
        turns.leave()
    assert order[0] == 2
    assert set(order) == {0, 1, 2}


def test_calls_without_a_deadline_do_not_interrupt_each_other():
    turns, now = Turns(), 1000.0
    mine = CallLimits(clock=lambda: now)
    turns.enter(mine)
    with waiting(turns, CallLimits(began=now + 1, clock=lambda: now)):
        assert not turns.should_yield(mine)
        turns.leave()


def test_a_call_with_a_result_does_not_wait_beyond_its_deadline():
    turns = Turns()
    turns.enter(CallLimits())
    late = CallLimits(0.0)
    late.started = True
    with waiting(turns, late) as (order, _):
        pass
    assert order == ["0 gave up"]
    turns.leave()
    assert turns.enter(CallLimits())  # the queue is in order


def test_a_call_with_a_result_does_not_queue_once_its_deadline_has_passed():
    turns, now = Turns(), 1000.0
    mine = CallLimits(0.5, began=now - 1, clock=lambda: now)
    mine.started = True
    assert not turns.enter(mine)  # although nobody has the turn
    assert turns.enter(CallLimits(clock=lambda: now))
    assert not turns.enter(mine)
    assert turns.waiting == 0


def test_a_call_without_a_result_waits_for_its_first_batch():
    turns = Turns()
    turns.enter(CallLimits())
    with waiting(turns, CallLimits(0.0)) as (order, _):
        turns.leave()
    assert order == [0]


def test_a_cancelled_call_leaves_the_queue():
    turns = Turns()
    turns.enter(CallLimits())
    with waiting(turns, CallLimits(should_stop=lambda: True), CallLimits()) as (order, failures):
        while not failures:
            threading.Event().wait(0.001)
        turns.leave()
    assert (order, failures) == ([1], [0])
    assert turns.waiting == 0


@pytest.mark.parametrize("budget", [None, 0.001])
def test_only_one_has_the_turn(budget):
    turns, inside, most = Turns(), 0, 0

    def call():
        nonlocal inside, most
        limits = CallLimits(budget)
        for _ in range(50):
            if turns.enter(limits):
                inside += 1
                most = max(most, inside)
                inside -= 1
                turns.leave()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 1
    assert turns.enter(CallLimits())
