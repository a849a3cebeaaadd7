"""Terminal output while a command runs: silences other libraries, and shows progress bars."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rerank_plugin.cli.printing import printable

if TYPE_CHECKING:
    from rerank_plugin.progress import CountCallback, ProgressCallback

# Defaults; variables that the user has set are not changed.
ENVIRONMENT = {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "true", "HAYSTACK_TELEMETRY_ENABLED": "False"}


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
        _hide_bars(stack)
        handler = WarningLines()
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        yield


class WarningLines(logging.Handler):
    """
    Shows warnings as lines on standard error.

    Records of other libraries with an exception are skipped: the exception is raised, too, and reported as an error.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if record.exc_info and not record.name.startswith("rerank_plugin"):
            return
        try:
            sys.stderr.write(f"{record.levelname.lower()}: {printable(record.getMessage())}\n")
        except Exception:  # noqa: BLE001 - as logging requires: a failure to log must not end the command
            self.handleError(record)


def _hide_bars(stack: ExitStack) -> None:
    from transformers.utils import logging as transformers

    hub: Any = import_module("huggingface_hub.utils")
    stack.callback(transformers.set_verbosity, transformers.get_verbosity())
    transformers.set_verbosity_error()  # type: ignore[no-untyped-call]
    if transformers.is_progress_bar_enabled():
        transformers.disable_progress_bar()  # type: ignore[no-untyped-call]
        stack.callback(transformers.enable_progress_bar)
    if not hub.are_progress_bars_disabled():
        hub.disable_progress_bars()
        stack.callback(hub.enable_progress_bars)


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
