"""Training on several devices: one process for each, started by `accelerate launch`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rerank_plugin.training.fitting.load import on_cpu


def is_main_process() -> bool:
    """Tell whether this process is the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def main_process_first() -> Iterator[None]:
    """Of the processes that `accelerate launch` started, let the main one go first: what it writes, the others find."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState  # type: ignore[import-untyped]

    with PartialState(cpu=on_cpu()).main_process_first():
        yield
