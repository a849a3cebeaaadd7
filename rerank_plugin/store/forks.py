"""
Nothing that is open crosses a fork.

SQLite keeps the locks that a process holds in the memory of that process. A forked child would inherit this memory but not
the locks: it would write without any, and another process would delete the write-ahead log under it. So the files are
closed before a fork, and parent and child open them again when they next need them. A fork waits for calls that are under
way in other threads, so that a child never inherits a lock which a thread of its parent holds.

`subprocess` and `os.posix_spawn` start another program at once, for which SQLite's files are closed anyway: they do not
come by here.
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
_PATIENCE_SECONDS = 30.0


class Forkable(Protocol):
    """Something with open files; whoever uses it holds `lock`."""

    lock: "threading.RLock"
    # How many uses are under way in the thread that holds the lock.
    uses: int

    def suspend(self) -> None:
        """Close the files, until the next use."""

    def abandon(self) -> None:
        """In a child process: never touch what the parent has open."""


class _Fork(threading.local):
    """What this thread did before it forks."""

    held: "Sequence[threading.Lock | threading.RLock]" = ()
    at_rest: Sequence[Forkable] = ()


class Forks:
    """What has to be at rest when this process forks."""

    def __init__(self) -> None:
        """Begin without anything."""
        # Whoever opens or gives back an index holds `guard`. Nobody waits for it who holds the lock of a Forkable.
        self.guard = threading.RLock()
        # Locks are not fair: without a turnstile, busy threads could keep a fork waiting for ever.
        self._turnstile = threading.Lock()
        self._members: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self._fork = _Fork()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def add(self, member: Forkable) -> None:
        """
        Let a fork wait for the uses of something.

        :param member: The thing; forgotten when nobody else has it any longer.
        """
        self._members.add(member)

    @contextmanager
    def use(self, member: Forkable) -> Iterator[None]:
        """
        Have something for this thread alone.

        :param member: What was added before.
        """
        with self._turnstile:
            pass  # a fork that is waiting goes first
        lock = member.lock  # a child gets another
        with lock:
            member.uses += 1
            try:
                yield
            finally:
                member.uses -= 1

    def _before(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
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
                # What cannot be closed is abandoned by the child; the fork itself cannot be called off.
                with suppress(Exception):
                    member.suspend()
                    at_rest.append(member)

    def _in_parent(self) -> None:
        for lock in reversed(self._fork.held):
            lock.release()
        self._fork.held = self._fork.at_rest = ()

    def _in_child(self) -> None:
        # Not even the locks cross: where other threads wait for one, the state of its copy is not defined.
        self.guard, self._turnstile = threading.RLock(), threading.Lock()
        for member in list(self._members):
            member.lock = threading.RLock()
            if not any(member is each for each in self._fork.at_rest):
                member.abandon()
        self._fork.held = self._fork.at_rest = ()
        # The threads of OpenMP do not cross either, and whoever started them would wait for them for ever.
        set_threads = getattr(sys.modules.get("faiss"), "omp_set_num_threads", None)
        if set_threads is not None:
            set_threads(1)


FORKS = Forks()
