"""Progress without a terminal, in a log or a pipe: a line every few seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rerank_plugin.cli.progress_state import ProgressState

# Seconds between two lines. A command that takes less time prints none.
INTERVAL = 5.0


@contextmanager
def progress_lines(
    state: ProgressState, write: Callable[[str], object], *, wait: Callable[[float], bool] | None = None
) -> Iterator[None]:
    """
    Write a line about the progress every few seconds, as long as the `with` block runs.

    A thread of its own writes, so that there are lines while a model is loaded, too.

    :param state: What is reported; a step that has not begun is not.
    :param write: Takes a line without its end.
    :param wait: Waits so many seconds, and returns whether the block has ended. `None`: by the clock.
    """
    ended = threading.Event()
    pause = wait or ended.wait

    def report() -> None:
        while not pause(INTERVAL):
            if line := state.line():
                write(line)

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
