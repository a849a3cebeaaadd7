"""The indexing lock: one run at a time per index, across threads, processes and forks; it ends with its process."""

import os
import signal
import threading
from pathlib import Path

import pytest

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import IndexBusyError, InvalidValueError
from rerank_plugin.indexing import index_paths
from rerank_plugin.store.indexing_lock import LOCK_FILE, indexing_lock


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
    with pytest.raises(IndexBusyError, match=rf"index is being indexed by process {holder.pid} on \S+ since 20\d\d-"):
        index_paths([tmp_path / "a.txt"], tmp_path / "index", pipeline="indexing_keyword", wait=0)


def test_l1_the_command_says_in_one_line_who_holds_the_index(rerank, tmp_path, holder):
    (tmp_path / "a.txt").write_text("A red fox.")
    done = rerank(
        "index", tmp_path / "a.txt", "--index", tmp_path / "index", "--pipeline", "indexing_keyword", "--wait", "0"
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"is being indexed by process {holder.pid}" in done.stderr


def test_l1_searches_and_ordinary_writes_are_not_held_up(tmp_path, holder):
    from haystack import Document

    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents([Document(content="a red fox")])
    assert len(store.bm25_retrieval("fox")) == 1
    store.close()
    with pytest.raises(IndexBusyError), indexing_lock(tmp_path / "index", wait=0):
        pass


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


def test_the_lock_dies_with_its_process(tmp_path, holder):
    holder.kill()
    with indexing_lock(tmp_path / "index", wait=0):
        pass


def test_two_threads_exclude_each_other(tmp_path):
    waiting, order = threading.Event(), []

    def second() -> None:
        with indexing_lock(tmp_path, wait=600, on_report=lambda text: waiting.set()):
            order.append("second")

    with indexing_lock(tmp_path, wait=0):
        with pytest.raises(IndexBusyError, match=f"process {os.getpid()}"), indexing_lock(tmp_path, wait=0):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(60)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_child_of_a_fork_does_not_keep_the_lock(tmp_path):
    """The child keeps the inherited descriptor; the lock is free as soon as the parent releases it."""
    read, write = os.pipe()
    with indexing_lock(tmp_path, wait=0):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the parent ends it
            os._exit(0)
    os.close(read)
    with indexing_lock(tmp_path, wait=0):
        pass
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_of_a_fork_does_not_give_the_lock_of_its_parent_back(tmp_path):
    with indexing_lock(tmp_path, wait=0):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with indexing_lock(tmp_path, wait=0):
                    status = 2
            except IndexBusyError:
                status = 0
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        with pytest.raises(IndexBusyError), indexing_lock(tmp_path, wait=0):
            pass


def test_a_lock_on_a_folder_that_was_deleted_is_not_a_lock_on_its_successor(tmp_path):
    index = tmp_path / "index"
    with indexing_lock(index, wait=0):
        (index / LOCK_FILE).unlink()
        with indexing_lock(index, wait=0):
            pass


def test_the_lock_is_given_back_when_the_run_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), indexing_lock(tmp_path, wait=0):
        raise ZeroDivisionError
    with indexing_lock(tmp_path, wait=0):
        pass


@pytest.mark.parametrize("wait", [-1, float("nan"), "5"])
def test_a_time_to_wait_that_makes_no_sense_is_refused(tmp_path, wait):
    with pytest.raises(InvalidValueError, match="wait must be a finite number of at least 0"):
        index_paths([tmp_path], tmp_path / "index", wait=wait)
