"""
Python processes that start at once.

A new interpreter needs seconds to import torch, sentence-transformers and Haystack. So one process imports everything, opens
nothing, and forks whenever a test wants a process: what the test gets has its own memory, environment and exit status, and can
be killed. All processes of pytest-xdist share it; it ends when the last of them has gone. Tests of what a process imports, or of
what a library reads from the environment while it is imported, start an interpreter of their own instead.
"""

import array
import atexit
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

TESTS = Path(__file__).parent
IMPORTS = (
    "import faiss, tantivy, Stemmer, rank_bm25, haystack, sentence_transformers; "
    "import rerank_plugin.store, rerank_plugin.components"
)
# The folder of the socket, in the environment, so that the workers of pytest-xdist find the one of their parent.
_FOLDER = "RERANK_TESTS_ZYGOTE"
_READY, _LEASE, _PROCESS = b"ready\n", b"L", b"P"


def share_zygote() -> None:
    """Let the processes that this one starts use the same zygote."""
    if _FOLDER not in os.environ:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="zygote-")
        atexit.register(_remove, os.environ[_FOLDER], os.getpid())


def run_python(code, *arguments):
    """Return the process that runs some code, with `stdin`, `stdout` and the methods of `subprocess.Popen`."""
    connection = _connect(_zygote().address, _PROCESS)
    (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
    errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - `Running` closes it
    request = {
        "code": textwrap.dedent(code),
        "arguments": list(map(str, arguments)),
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
    }
    text = json.dumps(request).encode()
    descriptors = array.array("i", [theirs_in, theirs_out, errors.fileno()])
    connection.sendmsg([len(text).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    connection.sendall(text)
    os.close(theirs_in)
    os.close(theirs_out)
    return Running(connection, os.fdopen(ours_in, "w"), os.fdopen(ours_out), errors)


class Running:
    """A process that was forked from the zygote."""

    def __init__(self, connection, stdin, stdout, errors):
        self.stdin, self.stdout, self.returncode = stdin, stdout, None
        self._errors, self._answers = errors, connection.makefile()
        connection.close()
        self.pid = int(self._answers.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close_input()
        self.wait()
        self.stdout.close()
        self._errors.close()

    def wait(self):
        """Wait for its end and return its exit status, the negative number of the signal that killed it."""
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
        return self.returncode

    def communicate(self, text=""):
        """Send it a text, wait for its end, and return all that it printed, to stdout and to stderr."""
        if text:
            self.stdin.write(text)
        self._close_input()
        with self.stdout:
            output = self.stdout.read()
        self.wait()
        with self._errors:
            return output, self.errors()

    def errors(self):
        """Return what it has printed to stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def is_running(self):
        """Whether it has not ended yet."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self):
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, 9)

    def _close_input(self):
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()


@dataclass
class _Zygote:
    """
    The process that the others are forked from.

    :param address: Its socket.
    :param lease: Open for as long as this process may want others: the zygote ends when the last lease has gone.
    :param process: If this process has started it.
    """

    address: str
    lease: socket.socket
    process: subprocess.Popen | None


@functools.cache
def _zygote():
    """Start the zygote, unless another process of this run has."""
    share_zygote()
    folder, process = Path(os.environ[_FOLDER]), None
    address = str(folder / "socket")
    with FileLock(folder / "lock"):
        try:
            lease = _take_lease(address)
        except (OSError, EOFError):
            (folder / "socket").unlink(missing_ok=True)
            server = f"import sys; sys.path[:0] = {[str(TESTS.parent), str(TESTS)]!r}; import zygote; {IMPORTS}; "
            process = subprocess.Popen(
                [sys.executable, "-c", f"{server}zygote.serve({address!r})"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            assert process.stdout.readline() == _READY
            lease = _take_lease(address)
    return _Zygote(address, lease, process)


def _take_lease(address):
    connection = _connect(address, _LEASE)
    if connection.recv(len(_READY)) != _READY:  # it was about to end
        connection.close()
        raise EOFError
    return connection


def _connect(address, purpose):
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        connection.sendall(purpose)
    except OSError:
        connection.close()
        raise
    return connection


def _remove(folder, owner):
    if os.getpid() == owner:  # and not a child that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


def serve(address):
    """Fork a process for each request, until nobody holds a lease any more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    leases = set()
    print(_READY.decode(), end="", flush=True)  # noqa: T201 - what the starter waits for
    while True:
        ready, _, _ = select.select([listener, *leases], [], [], None if leases else 60)
        for lease in leases & set(ready):
            leases.remove(lease)
            lease.close()
        if listener in ready:
            connection, _ = listener.accept()
            purpose = connection.recv(len(_LEASE))
            if purpose == _LEASE:
                leases.add(connection)
                connection.sendall(_READY)
                continue
            if purpose == _PROCESS and os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (listener, *leases):
                    each.close()
                _supervise(connection)
            connection.close()
        if not leases:
            os._exit(0)


def _supervise(connection):
    """Fork the process that was asked for, and report its number and its end."""
    size, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    descriptors = array.array("i", ancillary[0][2])
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += connection.recv(1 << 16)
    process = os.fork()
    if process == 0:
        connection.close()
        _run(json.loads(request), descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request, descriptors):
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0, "r"), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.argv = ["-c", *request["arguments"]]
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    status = 0
    try:
        exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - as an interpreter ends: the trace is printed, the status is 1
        traceback.print_exc()
        status = 1
    # As an interpreter ends: pools are shut down, threads are waited for, exit handlers run, output is flushed.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)
