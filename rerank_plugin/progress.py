"""How long work tells its caller how far it is."""

from collections.abc import Callable

# Called with what is being done, how much of it is done, and how much there is.
ProgressCallback = Callable[[str, int, int], None]
# The same for a piece of work that has only one name: how much is done, and how much there is.
CountCallback = Callable[[int, int], None]


def counts_of(on_progress: ProgressCallback | None, what: str) -> CountCallback:
    """
    Return what one piece of work reports to.

    :param on_progress: Receives its counts under the name `what`; `None`: nobody listens.
    :param what: Name of the work, as it is shown.
    """

    def report(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(what, done, total)

    return report
