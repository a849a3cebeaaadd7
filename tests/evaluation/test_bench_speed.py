"""What `rerank bench` makes of the times it has measured."""

import pytest

from rerank_plugin.evaluation.bench.speed import Round, noise, speed_rows, work_rows


def rounds(*totals, tokens=1000, **others):
    return [Round(tokens, total, [total], None, {}, **others) for total in totals]


def test_times_are_those_of_a_call_and_speed_is_that_of_a_round():
    together = [Round(1000, 60.0, [20.0, 60.0], 50.0, {}), Round(1000, 60.0, [40.0, 60.0], 54.0, {})]
    base, other = speed_rows({"case": {"base": rounds(120, 120), "other": together}})
    assert (base.median, base.best, base.speed) == (120, 120, 1)
    assert (other.median, other.best, other.speed) == (50, 20, 2)
    assert other.p95 == 60
    base, other = work_rows({"case": {"base": rounds(120, 120), "other": together}})
    assert (base.in_turn, other.in_turn) == (None, round(52 / 60, 2))


def test_shares_are_of_the_time_of_the_calls():
    measured = [Round(500, 10.0, [10.0], None, {"model": 8.0}), Round(500, 30.0, [30.0], None, {"model": 22.0})]
    (row,) = work_rows({"case": {"ours": measured}})
    assert row.phases == {"model": 0.75}
    assert row.token == 40


def test_the_first_system_tells_whether_the_machine_was_quiet():
    """Rounds differ in length, so it is the time for a token that must not vary."""
    longer = [Round(tokens, tokens / 10, [tokens / 10], None, {}) for tokens in (100, 200, 900, 4000, 1000)]
    quiet = {"a": {"stock": longer, "ours": rounds(1, 5, 1, 9, 2)}, "b": {"stock": longer, "ours": longer}}
    assert noise(work_rows(quiet)) is None
    noisy = {**quiet, "c": {"stock": rounds(10, 18, 10, 11, 30), "ours": longer}}
    assert noise(work_rows(noisy)) == (
        "The machine was busy with something else: the middle half of what stock took for a token spreads over 73% of the median (c). "
        "Measure again when nothing else runs, or with more rounds."
    )


@pytest.mark.parametrize("count", [2, 9])
def test_equal_rounds_have_no_spread(count):
    (row,) = work_rows({"case": {"stock": rounds(*[10] * count)}})
    assert row.spread == 0
