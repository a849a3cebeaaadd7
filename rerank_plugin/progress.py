"""Callbacks through which long-running work reports its progress."""

from collections.abc import Callable

# Called with the name of the current step, the units done, and the total number of units.
ProgressCallback = Callable[[str, int, int], None]
# The same for work with a single step: units done, and the total number of units.
CountCallback = Callable[[int, int], None]


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
