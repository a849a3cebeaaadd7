"""Short runs of the kill and concurrency attacks on one store; `make soak` runs longer ones."""

import sys

import pytest
from soak import crowds, kills
from soak.report import Size


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_kill_9_at_any_moment_loses_nothing(tmp_path):
    report = kills.run(Size(scale=6 / 300, seed=1000), tmp_path)
    assert report.held, report.failures
    assert report.tried == 6
    assert report.figures["steps acknowledged"] > 0


@pytest.mark.slow
def test_readers_and_writers_do_not_disturb_each_other(tmp_path):
    rounds, batches = crowds.read_and_write(tmp_path / "index", seconds=3, readers=4)
    assert rounds > 0
    assert batches > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_processes_may_make_an_index_at_once(tmp_path, number):
    crowds.create_together(tmp_path / f"index{number}")
