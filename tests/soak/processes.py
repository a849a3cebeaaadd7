"""Processes that may be killed, hang or crash without taking the attack with them."""

import contextlib
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# For the process that the others fork from: before Python 3.12 it does not take over sys.path.
_TESTS = str(Path(__file__).parents[1])
if _TESTS not in os.environ.get("PYTHONPATH", "").split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_TESTS, os.environ.get("PYTHONPATH")]))

# Processes fork from one that has imported everything and used nothing: they start in a hundredth of a second.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["rerank_plugin.store", "faiss", "tantivy", "Stemmer", "soak.preload"])


@dataclass(frozen=True)
class Outcome:
    """
    How a process ended.

    :param value: What the function returned, if it returned.
    :param error: Class and message of what it raised.
    :param project_error: Whether that was an error of this package, or one of Haystack's that the store's contract names.
    :param crashed: The signal that ended it, if one did.
    :param hung: Whether it was still at work at the deadline, and was killed.
    """

    value: Any = None
    error: str | None = None
    project_error: bool = False
    crashed: int | None = None
    hung: bool = False


def is_project_error(error: BaseException) -> bool:
    """Whether an error is one of the documented errors."""
    from haystack.document_stores.errors import DuplicateDocumentError, MissingDocumentError
    from haystack.errors import FilterError

    from rerank_plugin.errors import RerankError

    return isinstance(error, RerankError | FilterError | DuplicateDocumentError | MissingDocumentError)


def _call(file: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    if "SOAK_VERBOSE" not in os.environ:  # output of libraries about deliberate damage
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    answer = os.open(file, os.O_WRONLY)  # opened now: the function may become a user who cannot write it
    try:
        said = {"value": function(*arguments)}
    except BaseException as error:  # noqa: BLE001 - told to the process that asked
        said = {
            "error": f"{type(error).__name__}: {error}",
            "project_error": is_project_error(error),
            "trace": traceback.format_exc(),
        }
    with os.fdopen(answer, "w", encoding="utf-8") as text:
        text.write(json.dumps(said, default=str))


def attempt(function: Callable[..., Any], *arguments: Any, seconds: float = 60.0) -> Outcome:
    """
    Run a function of a module in a process of its own.

    :param function: Takes what can be pickled, and returns what JSON can hold.
    :param arguments: For it.
    :param seconds: When to kill it.
    :returns: How it ended.
    """
    handle, file = tempfile.mkstemp()
    os.close(handle)
    process = PROCESSES.Process(target=_call, args=(file, function, arguments))
    process.start()
    process.join(seconds)
    try:
        if process.is_alive():
            process.kill()
            process.join()
            return Outcome(hung=True)
        text = Path(file).read_text(encoding="utf-8")
        if not text:
            return Outcome(crashed=-(process.exitcode or 0))
        said = json.loads(text)
        said.pop("trace", None)
        return Outcome(**said)
    finally:
        Path(file).unlink()


@dataclass(frozen=True)
class Ended:
    """The result of a command: exit status and output."""

    status: int
    stdout: str
    stderr: str

    @property
    def is_orderly(self) -> bool:
        """Whether it succeeded, or ended with a project error: no traceback and no raw error."""
        if self.status == 0:
            return True
        raw = "--debug" in self.stderr or "Traceback" in self.stderr
        return not raw and ("error: " in self.stderr or "Usage:" in self.stderr or "No such" in self.stderr)


def command(*arguments: object) -> Ended:
    """Run a `rerank` command line in this process."""
    from rerank_plugin.cli import main

    before, stdout, stderr = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = ["rerank", *map(str, arguments)]
    status: Any = 0
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            main()
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before
    return Ended(0 if status is None else int(status), stdout.getvalue(), stderr.getvalue())


def run_command(file: str, variables: dict[str, str], *arguments: str) -> None:
    """Run a command line in its own process; the result is written to a file."""
    os.environ.update(variables)
    ended = command(*arguments)
    temporary = Path(file).with_suffix(".part")
    temporary.write_text(json.dumps(vars(ended)), encoding="utf-8")
    temporary.replace(file)


class Running:
    """
    A `rerank` command line at work in a process of its own.

    :param file: Where it writes how it ended.
    :param arguments: The command line.
    """

    def __init__(self, file: Path, *arguments: object) -> None:
        self._file = file
        # The process that it forks from has the variables of the moment at which the first of them was started.
        self.process = PROCESSES.Process(target=run_command, args=(str(file), dict(os.environ), *map(str, arguments)))
        self.process.start()

    def kill(self) -> bool:
        """Kill it, as `kill -9` does. Returns whether it was still running."""
        was_alive = self.process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        return was_alive

    def result(self, seconds: float) -> Ended:
        """
        Wait for its end.

        :param seconds: How long.
        :returns: How it ended; status -1 where it had to be killed, -2 where it crashed.
        """
        self.process.join(seconds)
        if self.kill():
            return Ended(-1, "", f"still at work after {seconds:g} s")
        if not self._file.exists():
            return Ended(-2, "", f"ended by signal {-(self.process.exitcode or 0)}")
        return Ended(**json.loads(self._file.read_text(encoding="utf-8")))


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition that another process fulfils. Returns whether it was fulfilled in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
