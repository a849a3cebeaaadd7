"""Terminal output while a command runs: silences other libraries, and shows the progress."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from rerank_plugin import quiet
from rerank_plugin.cli.printing import echo, printable
from rerank_plugin.cli.progress_lines import progress_lines
from rerank_plugin.cli.progress_state import ProgressState

if TYPE_CHECKING:
    from collections.abc import Callable

    from rerank_plugin.cli.estimate import Clock

# Defaults; variables that the user has set are not changed.
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "true", "HAYSTACK_TELEMETRY_ENABLED": "False"}
# Logs what it prepares, once for every model and backend, at the level INFO.
PREPARATION = "rerank_plugin.scoring.loading.conversions"
OURS = "rerank_plugin"

_shows_all: ContextVar[bool] = ContextVar("shows_all", default=False)


def show_all_warnings(value: bool) -> None:
    """
    Choose whether commands also show the warnings of other libraries, as `rerank --debug` does.

    :param value: Whether they do.
    """
    _shows_all.set(value)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """
    Suppress the progress bars, load reports and warnings of other libraries, and show our own warnings as single lines.

    At the end, the environment, logging and progress bar settings are restored.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        logging.captureWarnings(True)
        stack.callback(logging.captureWarnings, False)
        for name, value in ENVIRONMENT.items():
            if name not in os.environ:
                os.environ[name] = value
                stack.callback(os.environ.pop, name, None)
        stack.enter_context(quiet.quiet_libraries())
        handler, preparation = WarningLines(shows_all=_shows_all.get()), logging.getLogger(PREPARATION)
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        stack.callback(preparation.setLevel, preparation.level)
        preparation.setLevel(logging.INFO)
        yield


class WarningLines(logging.Handler):
    """
    Shows our warnings, and what is being prepared, as lines on standard error.

    Records of other libraries with an exception are always skipped: the exception is raised, too, and reported as an error.

    :param shows_all: Show the warnings of other libraries, too.
    """

    def __init__(self, *, shows_all: bool) -> None:
        super().__init__(logging.INFO)
        self._shows_all = shows_all

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        is_preparation = record.name == PREPARATION and record.levelno == logging.INFO
        if record.levelno < logging.WARNING and not is_preparation:
            return
        is_ours = record.name == OURS or record.name.startswith(f"{OURS}.")
        if not is_ours and (record.exc_info or not self._shows_all):
            return
        label = "" if is_preparation else f"{record.levelname.lower()}: "
        try:
            sys.stderr.write(f"{label}{printable(record.getMessage())}\n")
        except Exception:  # noqa: BLE001 - as logging requires: a failure to log must not end the command
            self.handleError(record)


class ProgressReporter:
    """
    Receives the progress of a command.

    :param state: Keeps it.
    :param changed: Called after each change; shows it.
    """

    def __init__(self, state: ProgressState, changed: "Callable[[], None]") -> None:
        self._state = state
        self._changed = changed

    def __call__(self, step: str, done: int, total: int) -> None:
        """Take note of the progress of a step: the units done, and the units in total."""
        self._state.update(step, done, total)
        self._changed()

    def begin(self, step: str) -> None:
        """Begin a step whose number of units is not known yet."""
        self._state.begin(step)
        self._changed()

    def activity(self, text: str) -> None:
        """Say what is being done within the step, such as `embedding`."""
        self._state.activity = printable(text)
        self._changed()


@contextmanager
def progress_bars(*, hidden: bool, clock: "Clock" = time.monotonic) -> Iterator[ProgressReporter]:
    """
    Show the progress of the steps of a command on standard error: as bars on a terminal, otherwise as a line now and then.

    :param hidden: Show nothing.
    :param clock: Returns the time in seconds.
    :returns: A callback that takes step, units done and units in total.
    """
    from rich.console import Console

    from rerank_plugin.cli.progress_bars import terminal_bars

    state = ProgressState(clock)
    console = Console(stderr=True)
    if hidden:
        yield ProgressReporter(state, lambda: None)
    elif console.is_terminal and not console.is_dumb_terminal:
        with terminal_bars(state, console, clock) as changed:
            yield ProgressReporter(state, changed)
    else:
        with progress_lines(state, lambda line: echo(line, err=True)):
            yield ProgressReporter(state, lambda: None)


class StepReporter:
    """
    Receives the progress of a command with a single step.

    :param reporter: Shows it.
    :param step: Name of the step.
    """

    def __init__(self, reporter: ProgressReporter, step: str) -> None:
        self._reporter = reporter
        self._step = step
        reporter.begin(step)

    def __call__(self, done: int, total: int) -> None:
        """Take note of the units done, and the units in total."""
        self._reporter(self._step, done, total)

    def activity(self, text: str) -> None:
        """Say what is being done, such as `embedding`."""
        self._reporter.activity(text)


@contextmanager
def progress_bar(title: str, *, hidden: bool, clock: "Clock" = time.monotonic) -> Iterator[StepReporter]:
    """
    Show the progress of a single step; see `progress_bars`.

    :param title: Name of the step.
    :param hidden: Show nothing.
    :param clock: Returns the time in seconds.
    :returns: A callback that takes units done and units in total.
    """
    with progress_bars(hidden=hidden, clock=clock) as reporter:
        yield StepReporter(reporter, title)
