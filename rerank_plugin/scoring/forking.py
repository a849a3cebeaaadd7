"""
What must not cross a fork.

A forked child has the memory of its parent but none of its threads: a lock that another thread held is never released, and
the thread pools of torch, OpenVINO and ONNX Runtime have no threads (torch then waits for them for ever).
"""

import ctypes
import os
import weakref
from typing import Any, Protocol

from rerank_plugin.errors import ModelError


class ForkAware(Protocol):
    """An object with locks, threads or connections."""

    def after_fork(self) -> None:
        """Replace them. Called in the child, before anything else runs there."""


_aware: "weakref.WeakSet[Any]" = weakref.WeakSet()
_first_model_in: int | None = None


def renew_after_fork(resource: ForkAware) -> None:
    """Have `after_fork` called in every forked child, for as long as the object lives."""
    _aware.add(resource)


def keep_forever(resource: object) -> None:
    """
    Never release an object that belongs to the parent process.

    In the child its destructor would wait for threads that do not exist, or close the parent's database connection.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(resource))


def check_same_process() -> None:
    """
    Note that this process runs models.

    :raises ModelError: If it was forked from a process that does.
    """
    global _first_model_in  # noqa: PLW0603 - a fact about the process
    if _first_model_in is None:
        _first_model_in = os.getpid()
    elif _first_model_in != os.getpid():
        raise ModelError(
            f"process {os.getpid()} was forked from one that had loaded a model, whose threads do not exist here: load "
            "models after the fork only (warm_up in the worker, not before), or start processes with 'spawn'"
        )


def _renew_all() -> None:
    for resource in list(_aware):
        resource.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
