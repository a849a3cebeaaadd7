"""
One indexing run at a time on an index, by a lock that dies with its process.

Searches and ordinary writes do not take it. It is an advisory lock of the operating system (`flock`) on a file in the index
folder; the file says who holds it, for the message, and is never deleted: two runs could then lock two different files.
"""

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from rerank_plugin.errors import BusyError, StoreError

LOCK_FILE = ".indexing.lock"
_POLL_SECONDS = 0.1

# Open lock files of this process. A child of a fork inherits their descriptors, and with them the locks: it has to close
# them, or a lock would outlive its owner. The guard keeps a fork from falling between opening a file and noting it here.
_descriptors: set[int] = set()
_guard = threading.Lock()


def _close_after_fork() -> None:
    for descriptor in _descriptors:
        with suppress(OSError):
            os.close(descriptor)  # leaves the parent's lock alone, unlike LOCK_UN
    _descriptors.clear()
    _guard.release()


os.register_at_fork(before=_guard.acquire, after_in_parent=_guard.release, after_in_child=_close_after_fork)


@contextmanager
def indexing_lock(folder: Path, *, wait: float, on_report: Callable[[str], None] | None = None) -> Iterator[None]:
    """
    Hold the right to index files into an index.

    :param folder: The index; made where it is missing.
    :param wait: How many seconds to wait for another run to end.
    :param on_report: Told who holds the lock, once, if there is something to wait for.
    :raises BusyError: If another run still holds the lock then; says who.
    :raises StoreError: If the lock file cannot be written.
    """
    deadline = time.monotonic() + wait
    has_reported = False
    while (descriptor := _try_to_lock(folder)) is None:
        holder = _holder(folder)
        if time.monotonic() >= deadline:
            raise BusyError(
                f"{folder} is being indexed by {holder}: wait for it to end, give more time with --wait, or end that process"
            )
        if on_report and not has_reported:
            on_report(f"{folder} is being indexed by {holder}; waiting up to {wait:g} seconds for it to end")
            has_reported = True
        time.sleep(_POLL_SECONDS)
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner:  # a child of a fork has given it up already
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                # Not only closed: a child that was forked this moment may not have closed its copy yet.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            with _guard:
                _descriptors.discard(descriptor)
                os.close(descriptor)


def _try_to_lock(folder: Path) -> int | None:
    """Return the descriptor of the locked file, `None` if another run holds it."""
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _guard:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            _descriptors.add(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                _sign(descriptor)
                return descriptor
        except BlockingIOError:
            pass
        with _guard:
            _descriptors.discard(descriptor)
            os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be locked: {error.strerror}; check the folder's permissions and free space"
        ) from error
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether the file is still the one in the folder, which somebody may have deleted and made anew meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int) -> None:
    text = json.dumps(
        {"pid": os.getpid(), "host": socket.gethostname(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    )
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode("utf-8"), 0)


def _holder(folder: Path) -> str:
    try:
        signed = json.loads((folder / LOCK_FILE).read_text(encoding="utf-8"))
        return f"process {signed['pid']} on {signed['host']} since {signed['started']}"
    except (OSError, ValueError, KeyError, TypeError):  # not signed yet, or given back this moment
        return "another process"
