"""The folder of an index: what may stand in it, and whether there is an index."""

from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.store.sqlite.damage import REMEDY, DamagedDatabaseError
from rerank_plugin.store.sqlite.ledger import Ledger, ledger_file

DATABASE = "documents.sqlite"
KEYWORDS = "keywords"
VECTORS = "vectors"
# What an indexing run of format 2 put into a folder before the first document.
_OTHERS = {"manifest.sqlite", "manifest.sqlite-wal", "manifest.sqlite-shm", "manifest.sqlite-journal"}
_LEDGER = ledger_file(Path(DATABASE)).name


def find_index(folder: Path, *, create: bool) -> bool:
    """
    Return whether an index is there or may be made, and make the folder for it.

    :param folder: The folder.
    :param create: Whether to make the folder if there is none.
    :raises StoreError: If the folder cannot hold an index, or holds something else.
    :raises DamagedDatabaseError: If it holds what belongs to an index, whose documents are gone.
    """
    real = str(folder.resolve())
    try:
        real.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(
            f"{real!a} is no valid Unicode, which the keyword and vector indexes need: name a folder whose path is"
        ) from error
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        return create
    except NotADirectoryError as error:
        raise StoreError(f"{folder} is a file: name a folder for the index") from error
    if DATABASE in names:
        return True
    noted = Ledger(folder / DATABASE).read() if _LEDGER in names else None
    if noted is not None and noted.counter:
        raise DamagedDatabaseError(
            folder / DATABASE, f"it is missing, but change {noted.counter} was acknowledged", f"{REMEDY}, or delete this one"
        )
    # A hidden file is nobody's content: a desktop's notes on a folder, or the lock of an indexing run.
    foreign = sorted(name for name in names - _OTHERS - {_LEDGER} if not name.startswith("."))
    if foreign:
        raise StoreError(
            f"{folder} is no index: it holds {foreign[0]!r}, but no {DATABASE}; name an index, or an empty folder"
        )
    return create
