"""The folder that an evaluation writes to: one evaluation at a time, checked before any work is done."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rerank_plugin.errors import IndexBusyError, InputFileError


@contextmanager
def reserve_folder(folder: Path) -> Iterator[None]:
    """
    Reserve a folder for one evaluation: two at once would mix their reports, and answer every query twice.

    The lock is on the folder itself and ends with the process, however that ends. Where the operating system or the file
    system has no such locks there is none.

    :param folder: The folder; created if it does not exist, and removed again if nothing was written to it.
    :raises InputFileError: If it cannot be created or written to.
    :raises IndexBusyError: If another evaluation is writing to it.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputFileError(f"{folder} cannot be made ({error.strerror}): choose another folder with --output") from error
    if not os.access(folder, os.W_OK):
        raise InputFileError(f"{folder} is read-only: choose another folder with --output")
    try:
        with _locked(folder):
            yield
    finally:
        if is_new:
            with suppress(OSError):  # not empty, so it stays
                folder.rmdir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IndexBusyError(
                f"another evaluation is writing to {folder}: wait until it has ended, or choose another folder with --output"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
