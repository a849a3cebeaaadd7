"""Open indexes, shared inside a process: two retrievers in one pipeline make two stores on one folder."""

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.store.keywords.factory import open_keyword_index
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.keywords.types import BM25Parameters, KeywordIndex, KeywordSettings
from rerank_plugin.store.retrieval import FilterCache
from rerank_plugin.store.settings import Settings
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors import VectorIndex

DATABASE = "documents.sqlite"
KEYWORDS = "keywords"
VECTORS = "vectors"
# What an index folder may hold before its first document: other parts of the package keep their own files in it.
_OURS = (DATABASE, KEYWORDS, VECTORS, "manifest", ".")

_handles: dict[Path, "Handle"] = {}
# Handles from before a fork: SQLite must neither be used nor closed in the child.
_left_to_parent: list["Handle"] = []
_guard = threading.RLock()


class Handle:
    """A database and the indexes derived from it. Whoever uses them holds `lock`."""

    def __init__(self, folder: Path | None, settings: Settings) -> None:
        """
        Open an index, and make it if there is none.

        :param folder: Its folder, which exists; None for an index in memory.
        :param settings: Settings for a new index.
        """
        self.lock = threading.RLock()
        self.users = 0
        self.is_closed = False
        self._folder = folder
        self._process = os.getpid()
        self.database = Database(None if folder is None else folder / DATABASE)
        try:
            if self.database.is_blank:
                self.database.initialise(settings.with_defaults())
            self.settings = self.database.settings()
        except BaseException:
            self.database.close()
            raise
        self._file = self._identify()
        self.filters = FilterCache()
        self._keywords: dict[KeywordSettings, KeywordIndex] = {}
        self._vectors: dict[str, VectorIndex] = {}

    def keywords(self, engine: str, bm25: BM25Parameters) -> KeywordIndex:
        """
        Return a keyword index.

        :param engine: Name of the engine.
        :param bm25: The parameters of BM25.
        """
        has = self.settings
        settings = KeywordSettings(
            engine, has.language or "", bool(has.stop_words), has.search_fields or SearchFields(), bm25
        )
        if settings not in self._keywords:
            folder = None if self._folder is None else self._folder / KEYWORDS
            self._keywords[settings] = open_keyword_index(settings, folder)
        return self._keywords[settings]

    def vectors(self, kind: str) -> VectorIndex:
        """
        Return a vector index.

        :param kind: One of `settings.VECTOR_INDEXES`.
        """
        if kind not in self._vectors:
            folder = None if self._folder is None else self._folder / VECTORS / kind
            self._vectors[kind] = VectorIndex(self.settings.similarity or "", kind, folder)
        return self._vectors[kind]

    @property
    def is_current(self) -> bool:
        """Whether this process opened the handle, and the file on disk is still the one that is open."""
        return not self.is_closed and self._process == os.getpid() and self._identify() == self._file

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self.database.file.stat() if self.database.file else None
        except OSError:
            return None
        return found and (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Close the files; a handle from before a fork belongs to the parent process."""
        if self._process != os.getpid():
            _left_to_parent.append(self)
            return
        with self.lock, suppress(sqlite3.Error):
            self.is_closed = True
            self.database.close()


def acquire(folder: Path, settings: Settings, *, create: bool) -> Handle | None:
    """
    Return the handle of a folder; every call needs a `release`.

    :param folder: The folder.
    :param settings: Settings for a new index.
    :param create: Whether to make the index if there is none.
    :returns: None if there is no index and none was asked for.
    :raises StoreError: If the folder cannot hold an index, or holds something else.
    """
    with _guard:
        if not _check_folder(folder, create=create):
            return None
        key = folder.resolve()
        handle = _handles.get(key)
        if handle is None or not handle.is_current:
            handle = _handles[key] = Handle(key, settings)
        handle.users += 1
        return handle


def release(handle: Handle) -> None:
    """
    Give a handle back; the last one to do so closes it.

    :param handle: What `acquire` returned.
    """
    with _guard:
        handle.users -= 1
        if handle.users > 0:
            return
        for key in [key for key, known in _handles.items() if known is handle]:
            del _handles[key]
    # Outside the guard: closing waits for whoever is still reading.
    handle.close()


def _check_folder(folder: Path, *, create: bool) -> bool:
    """Return whether an index is there or may be made, and make the folder for it."""
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        return create
    except NotADirectoryError as error:
        raise StoreError(f"{folder} is a file: name a folder for the index") from error
    if DATABASE in names:
        return True
    foreign = sorted(name for name in names if not name.startswith(_OURS))
    if foreign:
        raise StoreError(
            f"{folder} is no index: it holds {foreign[0]!r}, but no {DATABASE}; name an index, or an empty folder"
        )
    return create
