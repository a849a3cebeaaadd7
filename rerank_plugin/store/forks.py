"""
Closes open files before a fork, so that no child process inherits them.

SQLite records the locks of a process in that process's memory. A forked child would inherit this memory but not the locks:
it would write without holding any, and another process would delete the write-ahead log in use. Therefore the files are
closed before a fork, and parent and child reopen them when they next need them. A fork waits for running calls in other
threads, so that a child never inherits a lock held by a thread of its parent.

`subprocess` and `os.posix_spawn` execute another program, in which SQLite's files are closed anyway; they do not run these
fork handlers.
"""

import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

# Hooks before a fork run in the reverse order of their registration, and that of filelock has to come after that of `FORKS`:
# it stops other threads from taking file locks, and calls that `FORKS` waits for may be about to take one.
import rerank_plugin.locks  # noqa: F401

# How long a fork waits for calls in other threads. What is still in use then cannot be used by the child.
_TIMEOUT_SECONDS = 30.0


class Forkable(Protocol):
    """An object with open files; every use holds its `lock`."""

    lock: "threading.RLock"
    # Number of nested uses by the thread that holds the lock.
    uses: int

    def suspend(self) -> None:
        """Close the files until the next use."""

    def abandon(self) -> None:
        """Called in a child process: give up the parent's open files without closing them."""


class _Fork(threading.local):
    """The locks and objects that this thread secured for the fork in progress."""

    held: "Sequence[threading.Lock | threading.RLock]" = ()
    at_rest: Sequence[Forkable] = ()


class Forks:
    """The objects that must not be in use when this process forks."""

    def __init__(self) -> None:
        """Register the fork handlers."""
        # Held while an index is opened or released. Lock order: never wait for it while holding the lock of a Forkable.
        self.guard = threading.RLock()
        # Locks are not fair: without a turnstile, busy threads could starve a fork.
        self._turnstile = threading.Lock()
        self._members: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._fork = _Fork()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def add(self, member: Forkable) -> None:
        """
        Make forks wait for the uses of an object.

        :param member: The object; held by a weak reference.
        """
        self._members.add(member)

    @contextmanager
    def use(self, member: Forkable) -> Iterator[None]:
        """
        Hold the exclusive use of an object.

        :param member: An object passed to `add`.
        """
        with self._turnstile:
            pass  # a waiting fork goes first
        lock = member.lock  # replaced in a child process
        with lock:
            member.uses += 1
            try:
                yield
            finally:
                member.uses -= 1

    def _before(self) -> None:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        held: list[threading.Lock | threading.RLock] = []
        at_rest: list[Forkable] = []
        self._fork.held, self._fork.at_rest = held, at_rest

        def take(lock: "threading.Lock | threading.RLock") -> bool:
            taken = lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            if taken:
                held.append(lock)
            return taken

        if not (take(self._turnstile) and take(self.guard)):
            return
        for member in list(self._members):
            # A signal handler that forks may have interrupted a use by its own thread.
            if take(member.lock) and not member.uses:
                # An object that cannot be closed is abandoned by the child: a fork handler cannot cancel the fork.
                with suppress(Exception):
                    member.suspend()
                    at_rest.append(member)

    def _in_parent(self) -> None:
        for lock in reversed(self._fork.held):
            lock.release()
        self._fork.held = self._fork.at_rest = ()

    def _in_child(self) -> None:
        # Replace the locks as well: the copy of a lock that other threads wait for is in an undefined state.
        self.guard, self._turnstile = threading.RLock(), threading.Lock()
        for member in list(self._members):
            member.lock = threading.RLock()
            if not any(member is each for each in self._fork.at_rest):
                member.abandon()
        self._fork.held = self._fork.at_rest = ()
        # OpenMP's threads do not exist in the child, and a parallel region would wait for them for ever.
        set_threads = getattr(sys.modules.get("faiss"), "omp_set_num_threads", None)
        if set_threads is not None:
            set_threads(1)


FORKS = Forks()
