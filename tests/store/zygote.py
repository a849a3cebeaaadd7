"""
Python processes that start at once.

A new interpreter needs seconds to import Haystack. So one process imports everything, opens nothing, and forks whenever a test
wants a process: what the test gets has its own memory, its own exit status, and can be killed.
"""

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

IMPORTS = "import faiss, tantivy, Stemmer, rank_bm25, haystack; import rerank_plugin.store, rerank_plugin.components"


class Zygote:
    """The process that the others are forked from."""

    def __init__(self, folder):
        self._address = str(Path(tempfile.mkdtemp()) / "socket")
        server = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import zygote; {IMPORTS}; "
        self._process = subprocess.Popen(
            [sys.executable, "-c", server + f"zygote.serve({self._address!r})"],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout.readline() == b"ready\n"

    def run(self, code, arguments):
        """Return the process that runs some code, with `stdin`, `stdout` and the methods of `subprocess.Popen`."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self._address)
        (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
        request = json.dumps({"code": code, "arguments": arguments}).encode()
        connection.sendmsg(
            [len(request).to_bytes(4, "big")],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs_in, theirs_out]))],
        )
        connection.sendall(request)
        os.close(theirs_in)
        os.close(theirs_out)
        return Running(connection, os.fdopen(ours_in, "w"), os.fdopen(ours_out))


class Running:
    """A process that was forked from the zygote."""

    def __init__(self, connection, stdin, stdout):
        self.stdin, self.stdout, self.returncode = stdin, stdout, None
        self._answers = connection.makefile()
        connection.close()
        self.pid = int(self._answers.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close_input()
        self.wait()
        self.stdout.close()

    def wait(self):
        """Wait for its end and return its exit status, the negative number of the signal that killed it."""
        if self.returncode is None:
            self.returncode = int(self._answers.readline())
            self._answers.close()
        return self.returncode

    def communicate(self, text=""):
        """Send it a text, and return all that it prints."""
        if text:
            self.stdin.write(text)
        self._close_input()
        output = self.stdout.read()
        self.wait()
        return output, None

    def kill(self):
        """Kill it."""
        os.kill(self.pid, 9)

    def _close_input(self):
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()


def serve(address):
    """Fork a process for each connection, until whoever started this one is gone."""
    import select
    import signal

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)  # noqa: T201 - what the test waits for
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _supervise(connection)
        connection.close()


def _supervise(connection):
    """Fork the process that was asked for, and report its number and its end."""
    size, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(2 * 4))
    descriptors = array.array("i", ancillary[0][2])
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += connection.recv(1 << 16)
    process = os.fork()
    if process == 0:
        connection.close()
        _run(json.loads(request), *descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    connection.sendall(f"{process}\n".encode())
    _, status = os.waitpid(process, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(request, stdin, stdout):
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.close(stdin)
    os.close(stdout)
    sys.stdin, sys.stdout = os.fdopen(0, "r"), os.fdopen(1, "w")
    sys.argv = ["-c", *request["arguments"]]
    status = 0
    try:
        exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - as an interpreter ends: the trace is printed, the status is 1
        traceback.print_exc()
        status = 1
    # As an interpreter ends: threads are waited for, exit handlers run, output is flushed.
    import atexit
    import threading

    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)
