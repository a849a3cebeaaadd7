"""What every command does to the terminal: keep other libraries off it, and show how far the work is."""

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

# What a user has set already stays.
ENVIRONMENT = {"TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "true", "HAYSTACK_TELEMETRY_ENABLED": "False"}


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """
    Keep the progress bars and load reports of other libraries off the terminal, and show warnings as single lines.

    Afterwards everything is as it was: environment, logging, and whether there are progress bars.
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
    Show warnings as lines on standard error.

    What other libraries log together with an exception is left out: they raise it too, and it becomes the command's error.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if record.exc_info and not record.name.startswith("rerank_plugin"):
            return
        try:
            sys.stderr.write(f"{record.levelname.lower()}: {printable(record.getMessage())}\n")
        except Exception:  # noqa: BLE001 - as logging demands: a message that cannot be shown must not end the command
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
    """Show a bar on standard error for each step that runs; yields the function that reports step, done and total."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        tasks: dict[str, Any] = {}

        def announce(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(escape(printable(what)), total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield announce


@contextmanager
def progress_bar(title: str, *, hidden: bool) -> "Iterator[CountCallback]":
    """Show a bar on standard error while something runs; yields the function that reports done and total."""
    with progress_bars(hidden=hidden) as announce:
        yield lambda done, total: announce(title, done, total)
