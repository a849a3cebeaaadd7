"""Open indexes, shared within a process: two retrievers in one pipeline create two stores on one folder."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.store.folder import DATABASE, KEYWORDS, VECTORS, find_index
from rerank_plugin.store.forks import FORKS
from rerank_plugin.store.keywords.factory import open_keyword_index
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.keywords.types import BM25Parameters, KeywordIndex, KeywordSettings
from rerank_plugin.store.retrieval import FilterCache
from rerank_plugin.store.settings import Settings
from rerank_plugin.store.sqlite.database import Database
from rerank_plugin.store.vectors import VectorIndex


class Handle:
    """A database and the indexes derived from it."""

    def __init__(self, folder: Path | None, settings: Settings) -> None:
        """
        Open an index, creating it if there is none.

        :param folder: Its folder, which exists; None for an index in memory.
        :param settings: Settings for a new index.
        """
        self.lock = threading.RLock()
        self.uses = 0
        self.users = 0
        self.is_closed = False
        self._folder = folder
        self.database = Database(None if folder is None else folder / DATABASE)
        try:
            if self.database.is_new:
                self.database.initialise(settings.with_defaults())
            self.settings = self.database.settings.read()
        except BaseException:
            self.database.close()
            raise
        self.filters = FilterCache()
        self._keywords: dict[KeywordSettings, KeywordIndex] = {}
        self._vectors: dict[str, VectorIndex] = {}
        FORKS.add(self)

    def keywords(self, engine: str, bm25: BM25Parameters) -> KeywordIndex:
        """
        Return a keyword index.

        :param engine: Name of the engine.
        :param bm25: The parameters of BM25.
        """
        stored = self.settings
        settings = KeywordSettings(
            engine, stored.language or "", bool(stored.stop_words), stored.search_fields or SearchFields(), bm25
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
        """Whether the handle is not closed, and the file on disk is still the one that it opened."""
        return not self.is_closed and self.database.connection.is_current

    @contextmanager
    def use(self) -> Iterator[bool]:
        """
        Hold the exclusive use of the handle.

        :returns: Whether the index is usable: another thread has not closed it meanwhile, nor was it replaced.
        """
        try:
            with FORKS.use(self):
                yield not self.is_closed and self.database.resume()
        finally:
            if not self.users:  # this thread gave it back itself meanwhile, and could not close what it was using
                _registry.close_unused(wait=False)

    def suspend(self) -> None:
        """Close the files until the next use."""
        self.database.suspend()

    def abandon(self) -> None:
        """Called in a child process: give up the parent's open files without closing them."""
        self.database.connection.abandon()

    def close(self) -> None:
        """Close the files."""
        self.is_closed = True
        self.database.close()


class _Registry:
    """The open indexes of this process by folder."""

    def __init__(self) -> None:
        self._handles: dict[Path, Handle] = {}
        self._unused: deque[Handle] = deque()
        # Released by the garbage collector, which may interrupt any code: a finaliser must neither wait nor change state.
        self._dropped: deque[Handle] = deque()
        self._is_open = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keep other threads from opening or releasing indexes. Required around `get` and `release`."""
        with FORKS.guard:
            was_open, self._is_open = self._is_open, True
            try:
                yield
            finally:
                self._release_dropped()
                self._is_open = was_open
        if not was_open:
            self.close_unused()

    def get(self, folder: Path, settings: Settings) -> Handle:
        key = folder.resolve()
        handle = self._handles.get(key)
        if handle is None or not handle.is_current:
            handle = self._handles[key] = Handle(key, settings)
        handle.users += 1
        return handle

    def release(self, handle: Handle) -> None:
        handle.users -= 1
        if handle.users > 0:
            return
        for key in [key for key, known in self._handles.items() if known is handle]:
            del self._handles[key]
        self._unused.append(handle)

    def drop(self, handle: Handle) -> None:
        self._dropped.append(handle)
        guard = FORKS.guard
        if not guard.acquire(blocking=False):
            return  # the holder of the guard releases the dropped handles
        try:
            if not self._is_open:
                self._release_dropped()
        finally:
            guard.release()
        self.close_unused(wait=False)

    def _release_dropped(self) -> None:
        while self._dropped:
            self.release(self._dropped.popleft())

    def close_unused(self, *, wait: bool = True) -> None:
        for _ in range(len(self._unused)):
            try:
                handle = self._unused.popleft()
            except IndexError:
                return  # another thread closed it
            lock = handle.lock
            if not lock.acquire(blocking=wait):
                self._unused.append(handle)
                continue
            try:
                if handle.uses:  # by this very thread, as the lock is free for it
                    self._unused.append(handle)
                else:
                    handle.close()
            finally:
                lock.release()


_registry = _Registry()
opening = _registry.open


def acquire(folder: Path, settings: Settings, *, create: bool) -> Handle | None:
    """
    Return the handle of a folder; every call needs a `release` or a `drop`. Call inside `opening`.

    :param folder: The folder.
    :param settings: Settings for a new index.
    :param create: Whether to create the index if there is none.
    :returns: None if there is no index and `create` is False.
    :raises StoreError: If the folder cannot hold an index, or holds other files.
    """
    return _registry.get(folder, settings) if find_index(folder, create=create) else None


def release(handle: Handle) -> None:
    """
    Release a handle; the last release closes it. Call inside `opening`.

    :param handle: The handle that `acquire` returned.
    """
    _registry.release(handle)


def drop(handle: Handle) -> None:
    """
    Release a handle from the garbage collector: like `release`, but without waiting.

    :param handle: The handle that `acquire` returned.
    """
    _registry.drop(handle)
