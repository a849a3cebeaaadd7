"""Where training runs: on a CPU or GPUs, in one process or one per device, started by `accelerate launch`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def on_cpu() -> bool:
    """Return whether training runs without a GPU."""
    import torch

    return not torch.cuda.is_available()


def is_main_process() -> bool:
    """Return whether this is the process that reports and writes."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the main process run the block before the others, which can then read what it wrote."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    from accelerate import PartialState  # type: ignore[import-untyped]

    with PartialState(cpu=on_cpu()).main_process_first():
        yield
