"""Terminal output while a command runs: silences other libraries, and shows progress bars."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rerank_plugin import quiet
from rerank_plugin.cli.printing import printable

if TYPE_CHECKING:
    from rerank_plugin.progress import CountCallback, ProgressCallback

# Defaults; variables that the user has set are not changed.
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "true", "HAYSTACK_TELEMETRY_ENABLED": "False"}
# Logs what it prepares, once for every model and backend, at the level INFO.
PREPARATION = "rerank_plugin.scoring.loading.conversions"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """
    Suppress the progress bars and load reports of other libraries, and show warnings as single lines.

    At the end, the environment, logging and progress bar settings are restored.
    """
    with ExitStack() as stack:
        for name, value in ENVIRONMENT.items():
            if name not in os.environ:
                os.environ[name] = value
                stack.callback(os.environ.pop, name, None)
        stack.enter_context(quiet.quiet_libraries())
        handler, preparation = WarningLines(), logging.getLogger(PREPARATION)
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        stack.callback(preparation.setLevel, preparation.level)
        preparation.setLevel(logging.INFO)
        yield


class WarningLines(logging.Handler):
    """
    Shows warnings, and what is being prepared, as lines on standard error.

    Records of other libraries with an exception are skipped: the exception is raised, too, and reported as an error.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        is_preparation = record.name == PREPARATION and record.levelno == logging.INFO
        if record.levelno < logging.WARNING and not is_preparation:
            return
        if record.exc_info and not record.name.startswith("rerank_plugin"):
            return
        label = "" if is_preparation else f"{record.levelname.lower()}: "
        try:
            sys.stderr.write(f"{label}{printable(record.getMessage())}\n")
        except Exception:  # noqa: BLE001 - as logging requires: a failure to log must not end the command
            self.handleError(record)


@contextmanager
def progress_bars(*, hidden: bool) -> "Iterator[ProgressCallback]":
    """Show a bar on standard error for each step; yields a callback that takes step, done and total."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        tasks: dict[str, Any] = {}

        def on_progress(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(escape(printable(step)), total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield on_progress


@contextmanager
def progress_bar(title: str, *, hidden: bool) -> "Iterator[CountCallback]":
    """Show a single bar on standard error; yields a callback that takes done and total."""
    with progress_bars(hidden=hidden) as on_progress:
        yield lambda done, total: on_progress(title, done, total)
