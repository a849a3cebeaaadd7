"""Backup and compaction of an index."""

import math
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.locks import HeldLock, LocksUnavailableError, acquire_lock
from rerank_plugin.store.derived import DerivedIndex
from rerank_plugin.store.sqlite.database import Database

# A hidden name beside the folder of a backup, until the backup is complete.
_PARTIAL = ".rerank-backup-"
_LOCK = ".lock"


def backup(database: Database, folder: Path, file_name: str) -> None:
    """
    Copy a database as of this moment; other users may keep reading and writing.

    The derived indexes are not copied: they are built when the copy is first searched. Partial backups beside the folder,
    left by a process that was killed, are removed.

    :param database: The database to copy.
    :param folder: A new or empty folder for the copy.
    :param file_name: Name of the database file in it.
    :raises StoreError: If the folder is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} exists and is not empty: choose a new folder for the backup")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder.parent)
    # Under another name until it is complete, so that an interrupted copy cannot be mistaken for an index.
    with _partial_folder(folder.parent) as partial:
        database.copy_to(partial / file_name)
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)


@contextmanager
def _partial_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for one backup, and hold a lock as long as it is in use: the lock dies with this process."""
    partial = parent / f"{_PARTIAL}{uuid.uuid4().hex[:12]}"
    # Waiting: a backup that cleans up may have it for a moment.
    with _lock(partial.with_name(partial.name + _LOCK), wait=math.inf) or nullcontext():
        try:
            partial.mkdir()
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for file in parent.glob(f"{_PARTIAL}*{_LOCK}"):
        with suppress(OSError):  # of another user
            lock = _lock(file, wait=0)
            if lock is not None:
                with lock:
                    shutil.rmtree(file.with_name(file.name.removesuffix(_LOCK)), ignore_errors=True)


def _lock(file: Path, *, wait: float) -> HeldLock | None:
    """Return the lock; None if another backup has it, or where there are no locks: partial folders stay there."""
    try:
        return acquire_lock(file, wait=wait, keep_file=False)
    except LocksUnavailableError:
        return None


def compact(database: Database, derived: list[DerivedIndex]) -> None:
    """
    Reclaim the disk space of deleted and replaced documents.

    :param database: The database to compact.
    :param derived: Indexes to bring up to date first; an index that is behind must be rebuilt afterwards.
    """
    for index in derived:
        index.sync(database)
    with database.transaction():
        database.changes.forget_deleted()
    database.vacuum()
