"""A store's access to its index: opened on first use, released by `close`, reopened when needed."""

import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_plugin.errors import StoreError
from rerank_plugin.store import handles
from rerank_plugin.store.failures import explain
from rerank_plugin.store.folder import find_index
from rerank_plugin.store.handles import Handle
from rerank_plugin.store.keywords.types import BM25Parameters, KeywordIndex
from rerank_plugin.store.settings import Settings
from rerank_plugin.store.vectors import VectorIndex


class Session:
    """The index that one store uses: a shared handle on a folder, or a private database in memory."""

    def __init__(self, path: str | Path | None, asked: Settings, vector_index: str, bm25: BM25Parameters) -> None:
        """
        Nothing is opened yet.

        :param path: Folder of the index, None for one in memory.
        :param asked: The settings requested by the caller.
        :param vector_index: One of `settings.VECTOR_INDEXES`.
        :param bm25: The parameters of BM25.
        """
        bm25.check_engine(asked.keyword_engine)
        self._bm25 = bm25
        self._vector_index = vector_index
        self._folder = None if path is None else Path(path).expanduser()
        self._asked = asked
        # Without a folder: the index itself. With a folder: an empty index to read, until one exists in the folder.
        self._memory: Handle | None = None
        self._shared: Handle | None = None
        self._drop: weakref.finalize[..., Session] | None = None
        self._engine = ""
        self._is_behind = False

    @property
    def exists(self) -> bool:
        """
        Whether there is an index in the folder; one in memory always exists.

        :raises StoreError: If the folder holds other files, or the index is damaged.
        """
        return self._folder is None or find_index(self._folder, create=False)

    @contextmanager
    def reading(self) -> Iterator[Handle]:
        """
        Hold the exclusive use of the index; of an empty one if there is none.

        :raises StoreError: If the index cannot be opened or read.
        """
        with self._borrow(create=False) as handle:
            yield handle

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[Handle]:
        """
        Hold the exclusive use of the index, inside a transaction.

        :param create: Whether to create the index if there is none; otherwise an empty one is used.
        :raises StoreError: If the index cannot be opened or written.
        """
        with self._borrow(create=create) as handle, handle.database.transaction():
            self._is_behind = True
            yield handle

    def keywords(self, handle: Handle) -> KeywordIndex:
        """
        Return the keyword index of the engine that this store uses.

        :param handle: The handle from `reading` or `writing`.
        """
        return handle.keywords(self._engine, self._bm25)

    def vectors(self, handle: Handle) -> VectorIndex:
        """
        Return the vector index that this store uses.

        :param handle: The handle from `reading` or `writing`.
        """
        return handle.vectors(self._vector_index)

    def close(self) -> None:
        """Bring the derived indexes on disk up to date and release the files; a later use reopens them."""
        try:
            # An index that was moved, or was inherited from the parent of a fork, cannot be completed here.
            shared = self._shared
            if self._is_behind and shared is not None and shared.is_current and not shared.database.connection.is_inherited:
                with self._borrow(create=False) as handle:
                    if handle.uses == 1:  # not in the middle of a call of this thread's that a signal has interrupted
                        keywords = self.keywords(handle)
                        if keywords.persistent:
                            keywords.sync(handle.database)
                        self.vectors(handle).complete(handle.database)
        finally:
            self._is_behind = False
            with handles.opening():
                self._detach()

    @contextmanager
    def _borrow(self, *, create: bool) -> Iterator[Handle]:
        try:
            while True:
                handle = self._attach(create=create)
                with handle.use() as is_usable:
                    if is_usable:
                        try:
                            yield handle
                        except (sqlite3.Error, StoreError):
                            handle.database.connection.check_unchanged()
                            raise
                        handle.database.connection.check_unchanged()
                        return
                    handle.is_closed = True
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the index in {self._folder or 'memory'} {explain(error)}") from error

    def _attach(self, *, create: bool) -> Handle:
        shared = self._shared
        if shared is not None and shared.is_current:
            return shared
        with handles.opening():
            if self._folder is None:
                return self._empty()
            handle = handles.acquire(self._folder, self._asked, create=create and self._shared is None)
            if handle is None:
                if self._shared is not None:
                    raise StoreError(
                        f"{self._folder} is gone: it was moved or deleted while it was open; put it back, or close the "
                        "store to create a new index there"
                    )
                return self._empty()
            self._detach()
            self._shared = handle
            self._drop = weakref.finalize(self, handles.drop, handle)
            try:
                self._engine = self._asked.resolve_against(handle.settings, str(self._folder)).keyword_engine or ""
                self._bm25.check_engine(self._engine)
            except StoreError:
                self._detach()
                raise
            return handle

    def _empty(self) -> Handle:
        if self._memory is None:
            self._memory = Handle(None, self._asked)
            self._memory.users = 1
            weakref.finalize(self, handles.drop, self._memory)
        self._engine = self._memory.settings.keyword_engine or ""
        if self._folder is None:  # otherwise the engine is known only when the folder has an index
            self._bm25.check_engine(self._engine)
        return self._memory

    def _detach(self) -> None:
        if self._drop is not None and self._drop.detach() and self._shared is not None:
            handles.release(self._shared)
        self._shared = self._drop = None
