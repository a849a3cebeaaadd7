"""The lock between processes: over threads, processes and forks; it dies with its process, and a deleted file is no lock."""

import errno
import math
import os
import signal
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rerank_plugin.locks import LocksUnavailableError, acquire_lock, holder_of

fcntl = pytest.importorskip("fcntl")  # forks, and what flock does
ROOT = Path(__file__).parents[1]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "folder" / "a.lock"


@pytest.fixture(params=[True, False], ids=["file kept", "file removed"])
def keep_file(request):
    return request.param


def is_free(file: Path) -> bool:
    lock = acquire_lock(file)
    if lock is not None:
        lock.release()
    return lock is not None


def run_python(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


HOLDER = """
    import sys
    from pathlib import Path
    from rerank_plugin.locks import acquire_lock
    with acquire_lock(Path(sys.argv[1]), keep_file=sys.argv[2] == "True"):
        print("held", flush=True)
        sys.stdin.readline()
    print("released", flush=True)
    sys.stdin.readline()
"""


def test_a_lock_is_held_by_one_at_a_time_and_given_back(file, keep_file):
    with acquire_lock(file, keep_file=keep_file):
        assert not is_free(file)
        assert acquire_lock(file, wait=0.01) is None
    assert file.exists() == keep_file
    assert is_free(file)


def test_a_lock_is_given_back_when_its_block_fails(file, keep_file):
    with pytest.raises(ZeroDivisionError), acquire_lock(file, keep_file=keep_file):
        raise ZeroDivisionError
    assert is_free(file)


def test_releasing_twice_does_not_touch_the_next_holder(file, keep_file):
    first = acquire_lock(file, keep_file=keep_file)
    first.release()
    with acquire_lock(file, keep_file=keep_file):
        first.release()
        assert not is_free(file)
        assert str(os.getpid()) in holder_of(file)


def test_another_process_excludes_this_one_until_it_releases_the_lock(file, keep_file):
    with run_python(HOLDER, file, keep_file) as other:
        assert other.stdout.readline() == "held\n"
        assert not is_free(file)
        assert holder_of(file).startswith(f"process {other.pid} on {socket.gethostname()} since 20")
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "released\n"
        assert is_free(file)
        other.communicate("\n")


def test_a_lock_dies_with_its_process(file, keep_file):
    with run_python(HOLDER, file, keep_file) as other:
        assert other.stdout.readline() == "held\n"
        other.kill()
    with acquire_lock(file):
        assert f"process {os.getpid()} " in holder_of(file)


def test_whoever_waits_for_ever_gets_the_lock_of_a_process_that_is_killed(file):
    with run_python(HOLDER, file, True) as other, ThreadPoolExecutor(1) as pool:
        assert other.stdout.readline() == "held\n"
        waiting = pool.submit(acquire_lock, file, wait=math.inf)
        other.kill()
        waiting.result(60).release()


def test_threads_exclude_each_other(file, keep_file):
    counts, most = {"now": 0}, []

    def work(_):
        with acquire_lock(file, wait=math.inf, keep_file=keep_file):
            counts["now"] += 1
            most.append(counts["now"])
            counts["now"] -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(12)))
    assert most == [1] * 12
    assert is_free(file)


def test_processes_that_remove_the_file_exclude_each_other(file):
    """Each reads a number, and writes it back plus one: a lock on a file that another one has removed would lose some."""
    number = file.with_name("number")
    file.parent.mkdir()
    number.write_text("0")
    code = """
        import sys
        from pathlib import Path
        from rerank_plugin.locks import acquire_lock
        for _ in range(50):
            while (lock := acquire_lock(Path(sys.argv[1]), keep_file=False)) is None:
                pass
            with lock:
                number = Path(sys.argv[2])
                number.write_text(str(int(number.read_text()) + 1))
    """
    processes = [run_python(code, file, number) for _ in range(2)]
    assert [process.communicate() and process.returncode for process in processes] == [0, 0]
    assert number.read_text() == "100"


def test_a_forked_child_does_not_keep_the_lock_that_its_parent_releases(file, keep_file):
    read, write = os.pipe()
    with acquire_lock(file, keep_file=keep_file):
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(read, 1)  # until the parent ends it
            os._exit(0)
    os.close(read)
    assert is_free(file)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_does_not_keep_the_lock_of_a_parent_that_was_killed(file, keep_file):
    code = """
        import os, signal, sys
        from pathlib import Path
        from rerank_plugin.locks import acquire_lock
        lock = acquire_lock(Path(sys.argv[1]), keep_file=sys.argv[2] == "True")
        if os.fork() == 0:
            print("alive", flush=True)
            sys.stdin.readline()
            print("still alive", flush=True)
            os._exit(0)
        signal.pause()
    """
    with run_python(code, file, keep_file) as parent:
        assert parent.stdout.readline() == "alive\n"
        assert not is_free(file)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert is_free(file)
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "still alive\n"


def test_a_forked_child_neither_has_nor_releases_the_lock_of_its_parent(file, keep_file):
    lock = acquire_lock(file, keep_file=keep_file)
    child = os.fork()
    if child == 0:
        was_free = is_free(file)
        lock.release()
        os._exit(1 if was_free or is_free(file) else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert not is_free(file)
    lock.release()
    assert is_free(file)


def test_a_program_that_is_started_meanwhile_does_not_keep_the_lock(file):
    with acquire_lock(file):
        program = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert is_free(file)
    program.communicate()


@pytest.mark.parametrize("wait", [0, math.inf])
def test_a_deleted_lock_file_is_no_lock(file, keep_file, wait):
    first = acquire_lock(file, keep_file=keep_file)
    file.unlink()
    with acquire_lock(file, wait=wait, keep_file=keep_file):
        first.release()
        assert file.exists(), "the first holder leaves the file of the second one alone"
        assert not is_free(file)


def test_what_a_lock_file_holds_is_no_obstacle(file):
    file.parent.mkdir()
    file.write_bytes(b"\xff" * 100_000)
    with acquire_lock(file):
        assert f"process {os.getpid()} " in holder_of(file)


@pytest.mark.parametrize("note", [b"", b" ", b" []", b" {}", b' {"pid": "x"}', b" " + b"[" * 5000, b"\xff\xff"])
def test_a_holder_that_has_not_signed_is_another_process(file, note):
    file.parent.mkdir()
    file.write_bytes(note)
    assert holder_of(file) == "another process"
    file.unlink()
    assert holder_of(file) == "another process"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_system_without_locks_is_said(file, keep_file, number, monkeypatch):
    """Such as some network file systems, which cannot be had here."""

    def refuse(descriptor, operation):
        raise OSError(number, os.strerror(number))

    file.parent.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(LocksUnavailableError, match=os.strerror(number)):
            acquire_lock(file, keep_file=keep_file)
    assert file.exists() == keep_file
    assert is_free(file)


def test_a_lock_file_that_cannot_be_made_is_an_error_of_the_system(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        acquire_lock(tmp_path / "file" / "a.lock")
    (tmp_path / "folder.lock").mkdir()
    with pytest.raises(OSError, match="folder"):
        acquire_lock(tmp_path / "folder.lock")


FORK_DURING_A_CALL = """
    import os, sys, threading, types
    from pathlib import Path

    package = types.ModuleType("rerank_plugin.store")  # without what its __init__ imports
    package.__path__ = ["rerank_plugin/store"]
    sys.modules["rerank_plugin.store"] = package
    from rerank_plugin.store.forks import FORKS
    from rerank_plugin.locks import acquire_lock

    is_used, is_asked = threading.Event(), threading.Event()

    class Lock:
        def __init__(self):
            self.inner = threading.RLock()

        def acquire(self, blocking=True, timeout=-1):
            is_asked.set()  # only a fork calls it
            return self.inner.acquire(blocking, timeout)

        def release(self):
            self.inner.release()

        def __enter__(self):
            self.inner.acquire()

        def __exit__(self, *error):
            self.inner.release()

    class Member:
        def __init__(self):
            self.lock, self.uses, self.calls = Lock(), 0, []

        def suspend(self):
            self.calls.append("suspended")

        def abandon(self):
            self.calls.append("abandoned")

    member = Member()
    FORKS.add(member)

    def call():
        with FORKS.use(member):
            is_used.set()
            is_asked.wait(60)
            with acquire_lock(Path(sys.argv[1])):
                member.calls.append("locked")

    thread = threading.Thread(target=call)
    thread.start()
    is_used.wait(60)
    child = os.fork()
    if child == 0:
        os.write(1, " ".join(["child:", *member.calls, ""]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    thread.join()
    os.write(1, " ".join(["parent:", *member.calls]).encode())
"""


def test_a_fork_lets_a_call_that_it_waits_for_take_a_lock(file):
    """
    A fork waits until the calls of other threads are through with their index, and a call may take a file lock on its way.

    If the hook of filelock came first it would close the way to the lock, and each would wait for the other.
    """
    with run_python(FORK_DURING_A_CALL, file) as process:
        assert process.communicate()[0] == "child: locked suspended parent: locked suspended"
