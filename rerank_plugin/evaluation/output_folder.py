"""The folder that an evaluation writes to: one evaluation at a time, checked before any work is done for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from rerank_plugin.errors import BusyError, InputFileError
from rerank_plugin.locks import HeldLock, LocksUnavailableError, acquire_lock, holder_of

LOCK_FILE = ".evaluation.lock"


@contextmanager
def reserve_folder(folder: Path) -> Iterator[None]:
    """
    Keep other evaluations out of a folder: two at once would mix their reports, and answer every query twice.

    Where the operating system or the file system has no locks, nobody is kept out.

    :param folder: The folder; made if it is missing, and taken away again if nothing was written to it.
    :raises InputFileError: If it cannot be made or written to.
    :raises BusyError: If another evaluation is writing to it.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputFileError(f"{folder} cannot be made ({error.strerror}): choose another folder with --output") from error
    if not os.access(folder, os.W_OK):
        raise InputFileError(f"{folder} is read-only: choose another folder with --output")
    try:
        with _lock(folder) or nullcontext():
            yield
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty: then it stays
                folder.rmdir()


def _lock(folder: Path) -> HeldLock | None:
    file = folder / LOCK_FILE
    try:
        lock = acquire_lock(file, keep_file=False)
    except LocksUnavailableError:
        return None
    except OSError as error:
        raise InputFileError(
            f"{file} cannot be written ({error.strerror}): delete it, or choose another folder with --output"
        ) from error
    if lock is None:
        raise BusyError(
            f"another evaluation is writing to {folder} ({holder_of(file)}): wait until it has ended, or choose another "
            "folder with --output"
        )
    return lock
