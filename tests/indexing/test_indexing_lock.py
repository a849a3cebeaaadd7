"""One indexing run at a time on an index; the lock itself is in test_locks.py."""

import os
import signal
from pathlib import Path

import pytest

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import BusyError, InvalidValueError, StoreError
from rerank_plugin.indexing import index_paths
from rerank_plugin.store.indexing_lock import indexing_lock


class Holder:
    """Another process that holds the lock on an index until its input is closed."""

    def __init__(self, index: Path) -> None:
        held, self._end = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._end[1])
            with indexing_lock(index, wait=0):
                os.write(held[1], b"held")
                os.read(self._end[0], 1)
            os._exit(0)
        os.close(self._end[0])
        assert os.read(held[0], 4) == b"held"
        for descriptor in held:
            os.close(descriptor)
        self._is_running = True

    def end(self) -> None:
        os.write(self._end[1], b".")

    def kill(self) -> None:
        if self._is_running:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self._end[1])
        self._is_running = False


@pytest.fixture
def holder(tmp_path):
    holder = Holder(tmp_path / "index")
    yield holder
    holder.kill()


def test_l1_a_second_run_fails_and_says_who_holds_the_index(tmp_path, holder):
    (tmp_path / "a.txt").write_text("A red fox.")
    with pytest.raises(BusyError, match=rf"index is being indexed by process {holder.pid} on \S+ since 20\d\d-"):
        index_paths([tmp_path / "a.txt"], tmp_path / "index", pipeline="indexing_keyword", wait=0)


@pytest.mark.slow
def test_l1_the_command_says_in_one_line_who_holds_the_index(rerank, tmp_path, holder):
    (tmp_path / "a.txt").write_text("A red fox.")
    done = rerank(
        "index", tmp_path / "a.txt", "--index", tmp_path / "index", "--pipeline", "indexing_keyword", "--wait", "0"
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"is being indexed by process {holder.pid}" in done.stderr


@pytest.mark.slow
def test_l1_searches_and_ordinary_writes_are_not_held_up(tmp_path, holder):
    from haystack import Document

    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(content="a red fox")])
    assert len(store.bm25_retrieval("fox")) == 1
    store.close()
    with pytest.raises(BusyError), indexing_lock(tmp_path / "index", wait=0):
        pass


@pytest.mark.slow
def test_l1_a_second_run_waits_says_so_once_and_goes_on_when_the_first_one_ends(tmp_path, holder):
    (tmp_path / "a.txt").write_text("A red fox.")
    told = []

    def end_the_other_run(text: str) -> None:
        told.append(text)
        holder.end()

    report = index_paths([tmp_path / "a.txt"], tmp_path / "index", pipeline="indexing_keyword", on_report=end_the_other_run)
    assert report.files == 1
    assert len(told) == 1
    assert f"process {holder.pid}" in told[0]
    assert "waiting up to 600 seconds" in told[0]


def test_an_index_folder_that_cannot_be_written_is_an_error_of_the_store(tmp_path):
    (tmp_path / "index").write_text("")
    message = r"indexing.lock cannot be locked: .*check the folder's permissions"
    with pytest.raises(StoreError, match=message), indexing_lock(tmp_path / "index", wait=0):
        pass


@pytest.mark.parametrize("wait", [-1, float("nan"), "5"])
def test_a_time_to_wait_that_makes_no_sense_is_refused(tmp_path, wait):
    with pytest.raises(InvalidValueError, match="wait must be a finite number of at least 0"):
        index_paths([tmp_path], tmp_path / "index", wait=wait)
