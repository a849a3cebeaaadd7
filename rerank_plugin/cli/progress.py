"""What every command does to the terminal: keep other libraries off it, and show how far the work is."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_plugin.evaluation.progress import ProgressCallback
    from rerank_plugin.indexing.run import Progress


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the progress bars and load reports of the model libraries off the terminal."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    yield


@contextmanager
def progress_bars(*, hidden: bool) -> "Iterator[ProgressCallback]":
    """Show a bar on standard error for each thing that runs; yields what reports the thing, done and total."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        tasks: dict[str, Any] = {}

        def announce(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield announce


@contextmanager
def progress_bar(title: str, *, hidden: bool) -> "Iterator[Progress]":
    """Show a bar on standard error while something runs; yields what reports done and total."""
    with progress_bars(hidden=hidden) as announce:
        yield lambda done, total: announce(title, done, total)
