"""A short form of the soak test: `python tests/store/soak.py` takes longer."""

import sys

import pytest
import soak


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_kill_9_at_any_moment_loses_nothing(tmp_path):
    assert soak.kill_again_and_again(tmp_path, kills=9, longest=0.4, first_seed=1000) > 0


def test_readers_and_writers_do_not_disturb_each_other(tmp_path):
    rounds, batches = soak.read_and_write(tmp_path / "index", seconds=3, readers=4)
    assert rounds > 0
    assert batches > 0


@pytest.mark.parametrize("number", range(5))
def test_processes_may_make_an_index_at_once(tmp_path, number):
    soak.create_together(tmp_path / f"index{number}")
