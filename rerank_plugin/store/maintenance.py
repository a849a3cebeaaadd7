"""Copies of an index, and getting rid of what deleted documents left behind."""

import shutil
import uuid
from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.store.derived import DerivedIndex
from rerank_plugin.store.sqlite.database import Database


def backup(database: Database, folder: Path, file_name: str) -> None:
    """
    Copy a database as it is at this moment; others may go on reading and writing meanwhile.

    The derived indexes are not copied: they are built from the copy when it is first searched.

    :param database: What is copied.
    :param folder: New folder for the copy, or an empty one.
    :param file_name: Name of the database in it.
    :raises StoreError: If the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} exists and is not empty: name a new folder for the backup")
    # Under another name until it is whole, so that a copy that broke off cannot be taken for an index.
    partial = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        database.copy_to(partial / file_name)
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def compact(database: Database, derived: list[DerivedIndex]) -> None:
    """
    Give the room of deleted and replaced documents back to the disk.

    :param database: What is compacted.
    :param derived: Indexes that are brought up to date first: older ones have to be built again afterwards.
    """
    for index in derived:
        index.sync(database)
    with database.transaction():
        database.changes.forget_deleted()
    database.vacuum()
