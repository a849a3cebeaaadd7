"""How work that takes long says how far it is."""

from collections.abc import Callable
from functools import partial

# What is being done, how much of it is done, and how much there is.
ProgressCallback = Callable[[str, int, int], None]
# The same for one piece of work, which has its name already.
StepProgress = Callable[[int, int], None]


def labelled(on_progress: ProgressCallback | None, what: str) -> StepProgress:
    """
    Give one piece of work its name.

    :param on_progress: Called with the name and the two numbers; `None`: nobody listens.
    :param what: The name, as it is shown.
    """
    return partial(on_progress or (lambda _what, _done, _total: None), what)
