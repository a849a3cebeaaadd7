"""Callbacks through which long-running work reports its progress."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Part = TypeVar("Part")

# Called with the name of the current step, the units done, and the total number of units.
ProgressCallback = Callable[[str, int, int], None]
# The same for work with a single step: units done, and the total number of units.
CountCallback = Callable[[int, int], None]
# The same within a unit, such as a large file: name of the parts, parts done, and their total; `None`: not known yet.
PartCallback = Callable[[str, int, int | None], None]

_on_parts: ContextVar[PartCallback | None] = ContextVar("on_parts", default=None)


def counts_of(on_progress: ProgressCallback | None, step: str) -> CountCallback:
    """
    Return the callback for a single step.

    :param on_progress: Receives the counts of the step; `None`: they are discarded.
    :param step: Name of the step, as it is shown.
    """

    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(step, done, total)

    return report


@contextmanager
def following_parts(on_parts: PartCallback) -> Iterator[None]:
    """
    Receive the progress within units as long as the `with` block runs, in this thread or asyncio task.

    Components of a pipeline take no callback from their caller: they report through the context.

    :param on_parts: Called with the name of the parts, the parts done, and their total.
    """
    token = _on_parts.set(on_parts)
    try:
        yield
    finally:
        _on_parts.reset(token)


def reporting(name: str, parts: Iterable[Part], total: int | None = None) -> Iterator[Part]:
    """
    Yield parts, and report each thousand of them.

    :param name: See `report_parts`.
    :param parts: The parts.
    :param total: See `report_parts`.
    """
    for done, part in enumerate(parts):
        if done and done % 1000 == 0:
            report_parts(name, done, total)
        yield part


def report_parts(name: str, done: int, total: int | None = None) -> None:
    """
    Report the progress within a unit.

    :param name: Name of the parts, such as `pages`.
    :param done: Parts done.
    :param total: Their total; `None`: not known yet.
    """
    on_parts = _on_parts.get()
    if on_parts is not None:
        on_parts(name, done, total)
