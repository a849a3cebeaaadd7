"""The folder of an index: whether it holds one, and which files may be in it."""

from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.store.sqlite.damage import REMEDY, DamagedDatabaseError
from rerank_plugin.store.sqlite.ledger import Ledger, ledger_file

DATABASE = "documents.sqlite"
KEYWORDS = "keywords"
VECTORS = "vectors"
# Files that an indexing run of format 2 created before the first document.
_FORMAT_2_FILES = {"manifest.sqlite", "manifest.sqlite-wal", "manifest.sqlite-shm", "manifest.sqlite-journal"}
_LEDGER = ledger_file(Path(DATABASE)).name


def find_index(folder: Path, *, create: bool) -> bool:
    """
    Return whether a folder holds an index or may hold a new one, creating the folder for the latter.

    :param folder: The folder.
    :param create: Whether to create the folder if it does not exist.
    :raises StoreError: If the folder cannot hold an index, or holds other files.
    :raises DamagedDatabaseError: If it belongs to an index whose database is missing.
    """
    real = str(folder.resolve())
    try:
        real.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{real!a} is not valid Unicode, which the keyword and vector indexes require: choose another folder"
        ) from error
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        return create
    except NotADirectoryError as error:
        raise StoreError(f"{folder} is a file: pass a folder for the index") from error
    if DATABASE in names:
        return True
    noted = Ledger(folder / DATABASE).read() if _LEDGER in names else None
    if noted is not None and noted.counter:
        raise DamagedDatabaseError(
            folder / DATABASE,
            f"it is missing, although change {noted.counter} was acknowledged",
            f"{REMEDY}, or delete this one",
        )
    # Hidden files are not content: a desktop's folder settings, or the lock of an indexing run.
    foreign = sorted(name for name in names - _FORMAT_2_FILES - {_LEDGER} if not name.startswith("."))
    if foreign:
        raise StoreError(
            f"{folder} is not an index: it holds {foreign[0]!r}, but no {DATABASE}; pass an index, or an empty folder"
        )
    return create
