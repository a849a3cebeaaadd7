"""Where training runs: on a CPU or GPUs, in one process or one per device, started by `accelerate launch`."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


def on_cpu() -> bool:
    """Return whether training runs without a GPU."""
    import torch

    return not torch.cuda.is_available()


def computed_precision(wanted: str, *, has_bf16: bool) -> str:
    """
    Return the precision that a run computes in.

    On a CPU without instructions for bf16 torch emulates it, about twenty times slower than fp32 and less exact.

    :param wanted: `fp32` or `bf16`.
    :param has_bf16: Whether the machine computes in bf16.
    """
    if wanted == "bf16" and not has_bf16:
        logger.warning("This CPU has no instructions for bf16, and emulating them is many times slower: training in fp32.")
        return "fp32"
    return wanted


def computes_in_bf16() -> bool:
    """Return whether this machine has instructions for bf16."""
    from rerank_plugin.scoring.backends.openvino_backend import has_bf16

    return not on_cpu() or has_bf16()


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
