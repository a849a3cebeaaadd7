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
    """Something with locks, threads or connections."""

    def after_fork(self) -> None:
        """Put new ones in their place. Called in the child, before anything else runs there."""


_aware: "weakref.WeakSet[Any]" = weakref.WeakSet()
_first_model_in: int | None = None


def renew_after_fork(thing: ForkAware) -> None:
    """Have `after_fork` of a thing called in every forked child, for as long as the thing lives."""
    _aware.add(thing)


def keep_forever(thing: object) -> None:
    """
    Never release something that belongs to the parent process.

    Its destructor would, in the child, wait for threads that are not there, or close the parent's database connection.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def check_same_process() -> None:
    """
    Note that this process runs models.

    :raises ModelError: If it is the fork of a process that does.
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
    for thing in list(_aware):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
