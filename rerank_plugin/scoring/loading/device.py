"""Whether a machine can have an accelerator, found out without torch."""

import ctypes
import runpy
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CPU = "cpu"
CUDA_DRIVER = "libcuda.so.1"


@cache
def has_only_cpu() -> bool:
    """
    Return whether torch would find no accelerator on this machine; importing torch to ask it takes seconds.

    :returns: `True` if the installed torch was built for CPUs, or for CUDA and there is no driver (on Linux). `False` if
        there may be an accelerator: ask torch.
    """
    build = _torch_build()
    if sys.platform == "darwin" or build is None or build.get("hip") or build.get("xpu"):
        return False
    if build.get("cuda", "unknown") is None:
        return True
    return sys.platform == "linux" and not _can_load(CUDA_DRIVER)


def _torch_build() -> dict[str, Any] | None:
    """Return what torch was built for, from the file in which its build notes it; `None` if there is no such file."""
    spec = find_spec("torch")
    file = None if spec is None or spec.origin is None else Path(spec.origin).with_name("version.py")
    return runpy.run_path(str(file)) if file is not None and file.is_file() else None


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
