"""
Indexing into a store of another package: what has no transaction is done in an order that a killed run can be resumed from.

1. The manifest says that a file is being indexed.
2. Its passages are written. Their ids follow from the file, its content and the pipeline: written again, they are replaced.
3. The passages of the file in any other state are deleted, by the meta field `source`.
4. The passages are counted, and the manifest says that the file is complete.

Killed before step 4, a run is repeated for the file. Between 2 and 3 a search may find passages of both states.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.indexing.foreign_store import ForeignStore, of_file, parts
from rerank_plugin.indexing.manifest import Manifest, manifest_folder
from rerank_plugin.indexing.targets import Progress
from rerank_plugin.pipelines.sharing import share_stores
from rerank_plugin.store.indexed_files import FinishedFiles
from rerank_plugin.store.indexing_lock import indexing_lock
from rerank_plugin.store.sqlite.indexed_files import IndexedFile

if TYPE_CHECKING:
    from haystack import Pipeline

OVERWRITE = "OVERWRITE"


@dataclass(frozen=True)
class ForeignFiles:
    """
    The files in the manifest at one point in time, compared with what the store holds where that is in doubt.

    :param files: The record of each file, by source.
    :param store: The store.
    :param is_untouched: Whether the store has as many documents as at the end of the last run: files are then not counted
        one by one.
    """

    files: Mapping[str, IndexedFile]
    store: ForeignStore
    is_untouched: bool

    @property
    def sources(self) -> list[str]:
        """Every file that is recorded, sorted."""
        return sorted(self.files)

    def is_whole(self, source: str, fingerprint: str) -> bool:
        """
        Return whether a file was indexed completely in this state, and exactly its passages are in the store.

        :param source: The file.
        :param fingerprint: Its fingerprint.
        """
        file = self.files.get(source)
        if file is None or not file.complete or file.fingerprint != fingerprint:
            return False
        if self.is_untouched:
            return True
        stored = self.store.count(of_file(source, fingerprint=fingerprint))
        return stored == file.passages == self.store.count(of_file(source))

    def resumable(self, source: str, fingerprint: str) -> IndexedFile | None:
        """
        Return the record of an interrupted run that read the file in this state, if all passages it wrote are in the store.

        :param source: The file.
        :param fingerprint: Its fingerprint.
        """
        file = self.files.get(source)
        if file is None or file.complete or file.fingerprint != fingerprint or not file.documents:
            return None
        return file if self.store.count(of_file(source, fingerprint=fingerprint)) >= file.passages else None


class ForeignRecords:
    """
    The record of the indexed files, in a manifest beside the store.

    :param store: The store.
    :param manifest: The manifest.
    """

    def __init__(self, store: ForeignStore, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest

    def snapshot(self) -> ForeignFiles:
        """Return the files as of now."""
        documents = self._manifest.documents
        return ForeignFiles(
            self._manifest.files(), self._store, is_untouched=documents is not None and documents == self._store.count()
        )

    def begin(self, files: Iterable[IndexedFile]) -> list[IndexedFile]:
        """
        Record that files are being indexed from the beginning, before their first passage is written.

        What an interrupted run has written of a file in this state is deleted: the file may have changed while it was read.

        :param files: The files.
        :returns: The files as recorded.
        """
        begun = list(files)
        for file in begun:
            before = self._manifest.get(file.source)
            if before is not None and not before.complete:
                self._store.delete(of_file(file.source, fingerprint=file.fingerprint))
        self._manifest.put(begun)
        return begun

    def put(self, files: Iterable[IndexedFile]) -> None:
        """
        Record how far files have been indexed.

        :param files: The updated records.
        """
        self._manifest.put(files)

    def forget(self, sources: Collection[str], *, passages: bool) -> None:
        """
        Forget files.

        :param sources: The files.
        :param passages: Whether to delete their passages, too.
        """
        if passages:
            for part in parts(sources):
                self._store.delete({"field": "meta.source", "operator": "in", "value": list(part)})
        if sources:
            self._manifest.remove(sources)

    def finish(self, sources: Mapping[str, int], *, merge: bool) -> FinishedFiles:  # noqa: ARG002 - only our own store merges
        """
        Delete the older passages of files that were read completely, count those that remain, and record the file as
        complete if the count is as expected.

        :param sources: For each file the number of its passages.
        :param merge: Without effect: passages that occur several times are stored as often.
        :returns: The passages in the store. A file with fewer or more than expected will be indexed again.
        """
        stored = {}
        for source, expected in sources.items():
            file = self._manifest.get(source)
            if file is None:  # the manifest was deleted meanwhile
                stored[source] = 0
                continue
            self._store.delete(of_file(source, others=file.fingerprint))
            stored[source] = self._store.count(of_file(source))
            complete = stored[source] == expected
            self._manifest.put([replace(file, documents=0, passages=expected if complete else 0, complete=complete)])
        return FinishedFiles(stored, merged=0)


class ForeignTarget:
    """
    A store of another package.

    :param store: The store.
    :param manifest: Its manifest.
    """

    def __init__(self, store: ForeignStore, manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest
        self.indexed_files = ForeignRecords(store, manifest)

    @classmethod
    def of(cls, data: dict[str, Any], folder: Path | None, *, name: str) -> "ForeignTarget":
        """
        Open a store and its manifest.

        :param data: The store as in a pipeline YAML.
        :param folder: See `manifest_folder`.
        :param name: Name of the pipeline, for error messages.
        """
        store = ForeignStore(data, name=name)
        return cls(store, Manifest(manifest_folder(store.address, folder), store.address))

    def __str__(self) -> str:
        """Return the class of the store and its address."""
        return str(self.store.address)

    def check(self) -> None:
        """
        Ask the store for the number of its documents.

        :raises StoreError: If it cannot be reached.
        """
        self.store.count()

    def lock(self, *, wait: float, on_report: Callable[[str], None] | None) -> AbstractContextManager[None]:
        """
        Hold the right to index into this store from this machine.

        :param wait: Seconds to wait for another run.
        :param on_report: Told who holds the lock.
        """
        return indexing_lock(self.manifest.folder, wait=wait, on_report=on_report, name=str(self))

    def connect(self, pipeline: "Pipeline", *, writer: str) -> None:
        """
        Let all components use this store: some can be opened only once, such as Qdrant in a folder.

        :param pipeline: The pipeline.
        :param writer: Name of the component that writes.
        :raises PipelineConfigError: If the writer does not overwrite, so that an interrupted run could not be resumed.
        """
        share_stores(pipeline, self.store.haystack_store)
        policy = getattr(getattr(pipeline.get_component(writer), "policy", None), "name", OVERWRITE)
        if policy != OVERWRITE:
            raise PipelineConfigError(
                f"the component {writer!r} has the policy {policy}, with which an interrupted run could not be resumed: "
                f"set `policy: {OVERWRITE}`"
            )

    def finish_run(self) -> None:
        """Record how many documents the store has, so that the next run sees whether another one has written into it."""
        self.manifest.put_documents(self.store.count())

    def progress(self) -> Progress:
        """Return what the manifest says, without asking the store."""
        files = self.manifest.files().values()
        return Progress.of(sum(file.passages for file in files), files)

    def close(self) -> None:
        """Close the store."""
        self.store.close()
