from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin.errors import OverloadedError
from rerank_plugin.serving.admission import ADMITTED_SHARE, LONGEST_WAIT, SHORTEST_WAIT, Admission

WAIT_OF_TEN = 10 / ADMITTED_SHARE


def refused(admission, expected, **more):
    try:
        with admission.admit(expected, **more):
            return None
    except OverloadedError as error:
        return error


def test_what_would_wait_too_long_is_refused_with_the_time_after_which_it_may_come():
    admission = Admission(max_requests=10, max_wait=WAIT_OF_TEN)
    with admission.admit(4), admission.admit(4):
        error = refused(admission, 5)
        assert "2 requests" in str(error)
        assert error.retry_after == pytest.approx(3)
        assert refused(admission, 1.5) is None
        assert admission.backlog == pytest.approx(8)
    assert refused(admission, 5) is None
    assert admission.requests == 0


def test_what_the_model_has_done_for_a_request_is_no_longer_to_be_done():
    admission = Admission(max_requests=10, max_wait=WAIT_OF_TEN)
    with admission.admit(4) as first, admission.admit(5):
        first.seconds = 3
        assert admission.backlog == pytest.approx(6)
        assert refused(admission, 5) is not None
        assert refused(admission, 4) is None
        first.seconds = 30  # longer than expected, which says nothing of the second one yet
        assert admission.backlog == pytest.approx(5)


def test_a_request_that_takes_longer_than_any_may_wait_is_not_refused_for_ever():
    admission = Admission(max_requests=10, max_wait=WAIT_OF_TEN)
    assert refused(admission, 100) is None
    with admission.admit(4):
        assert refused(admission, 100) is None
        with admission.admit(4):
            assert refused(admission, 100) is not None


def test_a_client_that_wants_an_answer_before_its_turn_is_refused():
    admission = Admission(max_requests=10, max_wait=WAIT_OF_TEN)
    with admission.admit(2):
        assert refused(admission, 1, deadline=0.5) is not None
        assert refused(admission, 1, deadline=2.5) is None
    assert refused(admission, 1, deadline=0.001) is None  # nobody waits


def test_more_requests_than_may_wait_are_refused_whatever_they_take():
    admission = Admission(max_requests=2)
    with admission.admit(), admission.admit():
        assert refused(admission, 0).retry_after == SHORTEST_WAIT


def serve(admission, *, expected, takes):
    with admission.admit(expected) as usage:
        usage.seconds = takes


def test_one_request_that_hung_does_not_make_the_next_ones_wait_for_ever():
    admission = Admission(max_requests=10, max_wait=60)
    serve(admission, expected=1e-300, takes=1000)
    with admission.admit(1):
        assert admission.backlog == pytest.approx(10)


def test_a_request_that_came_before_the_speed_was_known_says_nothing_of_the_next_ones():
    admission = Admission(max_requests=10, max_wait=60)
    serve(admission, expected=0, takes=20)
    with admission.admit(1):
        assert admission.backlog == pytest.approx(1)


def test_the_pace_is_measured():
    """Requests take twice what was expected: those that wait will, too."""
    admission = Admission(max_requests=10, max_wait=WAIT_OF_TEN)
    for _ in range(5):
        serve(admission, expected=1, takes=2)
    with admission.admit(3):
        assert admission.backlog == pytest.approx(6)
        assert refused(admission, 3) is not None


def test_short_requests_that_go_first_do_not_make_the_model_seem_slow():
    """Time goes by for the long request, too, which is not done for a while."""
    admission = Admission(max_requests=10, max_wait=1000)
    with admission.admit(50) as long_one:
        for _ in range(40):
            serve(admission, expected=0.1, takes=0.1)
            long_one.seconds += 1
        assert admission.backlog == pytest.approx(10)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5), st.booleans()), max_size=40))
def test_the_backlog_is_never_negative_and_ends_with_the_work(steps):
    waits, usages = [], []
    admission = Admission(max_requests=5, max_wait=20)
    with ExitStack() as running:
        for expected, seconds, ends in steps:
            for usage in usages:
                usage.seconds += seconds
            if ends:
                running.close()
            try:
                usages.append(running.enter_context(admission.admit(expected)))
            except OverloadedError as error:
                waits.append(error.retry_after)
            assert admission.backlog >= 0
    assert (admission.requests, admission.backlog) == (0, 0)
    assert all(SHORTEST_WAIT <= wait <= LONGEST_WAIT for wait in waits)
