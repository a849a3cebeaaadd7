"""A store's hold on an index: opened by the first use, given back by `close`, opened again when needed."""

import errno
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.store import handles
from rerank_plugin.store.handles import Handle
from rerank_plugin.store.keywords.types import BM25Parameters, KeywordIndex
from rerank_plugin.store.settings import Settings
from rerank_plugin.store.vectors import VectorIndex


class Session:
    """What one store uses: a shared handle on a folder, or a database in memory of its own."""

    def __init__(self, path: str | Path | None, asked: Settings, vector_index: str, bm25: BM25Parameters) -> None:
        """
        Prepare; nothing is opened.

        :param path: Folder of the index, None for one in memory.
        :param asked: What the store was set to.
        :param vector_index: One of `settings.VECTOR_INDEXES`.
        :param bm25: The parameters of BM25.
        """
        bm25.check_engine(asked.keyword_engine)
        self._bm25 = bm25
        self._vector_index = vector_index
        self._folder = None if path is None else Path(path).expanduser()
        self._asked = asked
        self._guard = threading.Lock()
        # In memory: the index itself. On a folder: stands in, always empty, as long as there is no index to read.
        self._memory: Handle | None = None
        self._shared: Handle | None = None
        self._release: weakref.finalize[..., Session] | None = None
        self._engine = ""
        self._is_behind = False

    @contextmanager
    def reading(self) -> Iterator[Handle]:
        """
        Lend the handle, for this thread alone; an empty index stands in if there is none.

        :raises StoreError: If the index cannot be opened or read.
        """
        with self._lent(create=False) as handle:
            yield handle

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[Handle]:
        """
        Lend the handle, for this thread alone, with a transaction around everything that is done with it.

        :param create: Whether to make the index if there is none; otherwise an empty one stands in.
        :raises StoreError: If the index cannot be opened or written.
        """
        with self._lent(create=create) as handle, handle.database.transaction():
            self._is_behind = True
            yield handle

    def keywords(self, handle: Handle) -> KeywordIndex:
        """
        Return the keyword index of the engine that this store uses.

        :param handle: A lent handle.
        """
        return handle.keywords(self._engine, self._bm25)

    def vectors(self, handle: Handle) -> VectorIndex:
        """
        Return the vector index that this store uses.

        :param handle: A lent handle.
        """
        return handle.vectors(self._vector_index)

    def close(self) -> None:
        """Complete the derived indexes on disk and give the files back; a later use opens them again."""
        try:
            if self._is_behind and self._folder is not None:
                with self._lent(create=False) as handle:
                    keywords = handle.keywords(self._engine, self._bm25)
                    if keywords.persistent:
                        keywords.sync(handle.database)
                    self.vectors(handle).complete(handle.database)
        finally:
            self._is_behind = False
            with self._guard:
                self._detach()

    @contextmanager
    def _lent(self, *, create: bool) -> Iterator[Handle]:
        place = self._folder or "memory"
        try:
            handle = self._attach(create=create)
            handle.lock.acquire()
            while handle.is_closed:  # by another thread, while this one waited
                handle.lock.release()
                handle = self._attach(create=create)
                handle.lock.acquire()
            try:
                yield handle
            finally:
                handle.lock.release()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the index in {place} {_explained(error)}") from error

    def _attach(self, *, create: bool) -> Handle:
        with self._guard:
            if self._folder is None:
                return self._stand_in()
            if self._shared is not None and self._shared.is_current:
                return self._shared
            self._detach()
            handle = handles.acquire(self._folder, self._asked, create=create)
            if handle is None:
                return self._stand_in()
            self._shared = handle
            self._release = weakref.finalize(self, handles.release, handle)
            try:
                self._engine = self._asked.met_by(handle.settings, str(self._folder)).keyword_engine or ""
                self._bm25.check_engine(self._engine)
            except StoreError:
                self._detach()
                raise
            return handle

    def _stand_in(self) -> Handle:
        if self._memory is None:
            self._memory = Handle(None, self._asked)
            weakref.finalize(self, self._memory.close)
        self._engine = self._memory.settings.keyword_engine or ""
        if self._folder is None:  # otherwise the index that is still to come says which engine it is
            self._bm25.check_engine(self._engine)
        return self._memory

    def _detach(self) -> None:
        if self._release is not None:
            self._release()
        self._shared = self._release = None


def _explained(error: sqlite3.Error | OSError) -> str:
    """Say what a failure of the database or of the disk means, and what to do."""
    reason = str(error)
    if "malformed" in reason or "not a database" in reason:
        return f"is damaged ({reason}): put a backup in its place, or index the documents again into a new folder"
    if "is full" in reason or getattr(error, "errno", None) == errno.ENOSPC:
        return f"cannot be written ({reason}): make room on the disk; nothing of this write was stored"
    if "readonly" in reason or isinstance(error, PermissionError):
        return f"cannot be written ({reason}): the folder or a file in it is read-only"
    return f"cannot be used: {reason}"
