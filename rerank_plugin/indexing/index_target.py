"""Indexing into an index of our own, which records the files in the database of the documents."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from rerank_plugin.indexing.targets import FileRecords, Progress
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.indexing_lock import indexing_lock

if TYPE_CHECKING:
    from haystack import Pipeline

# Before format 3 the indexed files were recorded in a separate database.
_OLD_MANIFEST = "manifest.sqlite"


class IndexTarget:
    """
    An index: a `HybridDocumentStore` in a folder.

    :param store: The store.
    :param folder: Its folder.
    """

    def __init__(self, store: HybridDocumentStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._pipeline: Pipeline | None = None
        self._writer = ""

    def __str__(self) -> str:
        """Return the folder."""
        return str(self._folder)

    @property
    def indexed_files(self) -> FileRecords:
        """The table of indexed files, in the database of the documents."""
        return self._store.indexed_files

    def check(self) -> None:
        """
        Read the settings of the index.

        :raises StoreError: If the folder is not an index, or was built with other settings.
        """
        self._store.settings()

    def lock(self, *, wait: float, on_report: Callable[[str], None] | None) -> AbstractContextManager[None]:
        """
        Hold the right to index into this folder.

        :param wait: Seconds to wait for another run.
        :param on_report: Told who holds the lock.
        """
        return indexing_lock(self._folder, wait=wait, on_report=on_report)

    def connect(self, pipeline: "Pipeline", *, writer: str) -> None:
        """
        Remember the pipeline, to close its store: stores on one folder share what they have open.

        :param pipeline: The pipeline.
        :param writer: Name of the component that writes.
        """
        self._pipeline, self._writer = pipeline, writer

    def finish_run(self) -> None:
        """Remove the record of indexed files that earlier versions kept."""
        (self._folder / _OLD_MANIFEST).unlink(missing_ok=True)

    def progress(self) -> Progress:
        """Return what is kept of the runs so far."""
        return Progress.of(self._store.count_documents(), self._store.indexed_files.snapshot().files.values())

    def close(self) -> None:
        """Bring the indexes on disk up to date, so that the first search need not, and close the files."""
        if self._pipeline is not None:
            self._pipeline.get_component(self._writer).document_store.close()  # type: ignore[attr-defined]
        self._store.close()
