"""
A small round of each attack, so that it is known to run; `make soak` runs them in full.

What an attack finds is a failure here as it is there. Time budgets are only looked at for what does not hang on the clock.
"""

import sys

import pytest
from soak import (
    cycles,
    damage,
    foreign_copies,
    foreign_kills,
    forks,
    index_kills,
    judging,
    odd,
    server,
    time_budget,
    two_runs,
)
from soak.fuzz import run as fuzz
from soak.report import Size

pytestmark = [
    pytest.mark.attack,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs signals and forks"),
]


def check(report):
    assert report.held, "\n".join(f"{failure.reproduce}: {failure.what}" for failure in report.failures)


def test_l1_an_indexing_run_that_was_killed_is_resumed_without_loss(tmp_path):
    check(index_kills.run(Size(scale=2 / 60), tmp_path))


def test_l1_two_runs_on_one_index_leave_exactly_the_corpus(tmp_path):
    check(two_runs.run(Size(scale=2 / 20), tmp_path))


def test_every_grade_that_was_acknowledged_before_a_kill_is_there(tmp_path):
    check(judging.run(Size(scale=5 / 50), tmp_path))


@pytest.mark.parametrize("scene", forks.SCENES)
def test_l2_l3_what_was_acknowledged_on_either_side_of_a_fork_is_there(tmp_path, scene):
    assert forks.round_of(scene, tmp_path / scene) > 0


def test_damage_to_a_file_is_no_shorter_answer_in_silence(tmp_path):
    check(damage.run(Size(scale=0.03), tmp_path))


def test_whatever_is_passed_in_is_answered_or_refused_in_words(tmp_path):
    check(fuzz.run(Size(scale=0.005), tmp_path))


def test_open_files_stay_as_many(tmp_path):
    check(cycles.run(Size(scale=0.01), tmp_path))


def test_t1_t2_with_a_time_budget_something_is_scored_and_the_next_call_is_whole(tmp_path):
    report = time_budget.run(Size(scale=0.1), tmp_path)
    report.failures = [failure for failure in report.failures if not failure.what.startswith("overrun")]
    check(report)


@pytest.mark.parametrize("name", sorted(odd.CIRCUMSTANCES.keys() - {"header_bombs", "shared_caches"}))
def test_odd_circumstances(tmp_path, name):
    odd.CIRCUMSTANCES[name](tmp_path, 1)


def test_a_server_answers_malformed_requests_and_crowds(tmp_path):
    check(server.run(Size(scale=0.02), tmp_path))


def test_a_killed_run_into_another_database_is_resumed_without_loss(tmp_path):
    check(foreign_kills.run(Size(scale=0.1), tmp_path))


def test_a_killed_copy_into_another_database_is_resumed_without_loss(tmp_path):
    check(foreign_copies.run(Size(scale=0.05), tmp_path))
