"""One indexing run at a time on an index. Searches and ordinary writes do not take this lock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.errors import BusyError, StoreError
from rerank_plugin.locks import HeldLock, acquire_lock, holder_of

LOCK_FILE = ".indexing.lock"


@contextmanager
def indexing_lock(
    folder: Path, *, wait: float, on_report: Callable[[str], None] | None = None, name: str | None = None
) -> Iterator[None]:
    """
    Hold the right to index files into an index.

    :param folder: The index; made where it is missing.
    :param wait: How many seconds to wait for another run to end.
    :param on_report: Told who holds the lock, once, if there is something to wait for.
    :param name: What is being indexed into, for messages; `None`: the folder.
    :raises BusyError: If another run still holds the lock then; says who.
    :raises StoreError: If the lock file cannot be written.
    """
    file, name = folder / LOCK_FILE, name or str(folder)
    lock = _acquire(file, wait=0.0)
    if lock is None and wait > 0:
        if on_report:
            on_report(f"{name} is being indexed by {holder_of(file)}; waiting up to {wait:g} seconds for it to end")
        lock = _acquire(file, wait=wait)
    if lock is None:
        raise BusyError(
            f"{name} is being indexed by {holder_of(file)}: wait for it to end, give more time with --wait, or end that "
            "process"
        )
    with lock:
        yield


def _acquire(file: Path, *, wait: float) -> HeldLock | None:
    try:
        return acquire_lock(file, wait=wait)
    except OSError as error:
        raise StoreError(
            f"{file} cannot be locked: {error.strerror}; check the folder's permissions and free space"
        ) from error
