"""The shared state of an indexing run: its pipeline, the files indexed before it, and its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rerank_plugin.indexing.content import SourceFile
from rerank_plugin.indexing.pipeline import IndexingPipeline
from rerank_plugin.indexing.targets import FileRecords, KnownFiles
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.progress import CountCallback
from rerank_plugin.store.sqlite.indexed_files import IndexedFile


@dataclass
class IndexReport:
    """
    The result of a run.

    :param target: What was indexed into: the folder of the index, or another store and its address.
    :param files: Number of files that were indexed completely, including resumed ones.
    :param unchanged: Number of files that have not changed.
    :param pruned: Number of deleted files whose passages were dropped.
    :param passages: Number of passages written.
    :param merged: How many of them are equal to another one, and are stored with it.
    :param repaired: Number of texts (files; in a corpus, titles and passages) whose encoding was repaired.
    :param failed: Each file or folder that could not be indexed, with the reason.
    :param skipped: Each path that was skipped, as it is empty, no regular file or a link out of the folder, with the reason.
    :param skipped_types: Extensions of files that cannot be indexed, with their number; "" for files without one.
    :param missing_extra: Extensions of files that the extra `office`, which is not installed, reads, with their number.
    :param assumed_encodings: Encodings that were guessed, with the texts, which are not UTF-8 and have no byte order mark.
    """

    target: str = ""
    files: int = 0
    unchanged: int = 0
    pruned: int = 0
    passages: int = 0
    merged: int = 0
    repaired: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    skipped_types: dict[str, int] = field(default_factory=dict)
    missing_extra: dict[str, int] = field(default_factory=dict)
    assumed_encodings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing to do: no file to index, none that failed, and none to prune."""
        return not (self.files or self.unchanged or self.pruned or self.failed)


@dataclass
class IndexingJob:
    """
    The state of one run.

    :param pipeline: The pipeline that converts and writes.
    :param known: The files indexed before this run.
    :param report: The result so far.
    :param on_progress: Called with the units done and the units in total.
    :param repair: Repairs texts; `None` if texts are not to be repaired.
    """

    pipeline: IndexingPipeline
    known: KnownFiles
    report: IndexReport
    on_progress: CountCallback | None = None
    repair: TextRepair | None = None
    _done: int = 0
    _total: int = 0

    @property
    def indexed_files(self) -> FileRecords:
        """The record of the indexed files."""
        return self.pipeline.target.indexed_files

    def is_unchanged(self, file: SourceFile) -> bool:
        """
        Return whether a file was indexed completely in its current state. A file whose size has changed is not read.

        :param file: The file.
        :raises InputFileError: If it cannot be read.
        """
        before = self.known.files.get(file.source)
        if before is None or not before.complete or before.size != file.size():
            return False
        return self.known.is_whole(file.source, file.fingerprint(self.pipeline.salt))

    def expect(self, units: int) -> None:
        """
        Add to the total number of units.

        :param units: Number of additional units.
        """
        self._total += units

    def advance(self, units: int) -> None:
        """
        Add to the units done, and report progress.

        :param units: Number of units completed.
        """
        self._done += units
        if self.on_progress:
            self.on_progress(self._done, self._total)

    def finish(self, passages: Mapping[str, int], *, merge: bool) -> None:
        """
        Mark files as complete whose passages were all written, or report that some are missing.

        :param passages: For each file its number of passages.
        :param merge: Whether passages that occur several times are stored once.
        """
        finished = self.indexed_files.finish(passages, merge=merge)
        self.report.merged += finished.merged
        for source, stored in finished.passages.items():
            if stored == passages[source]:
                self.report.files += 1
            else:
                self.report.failed.append(
                    f"{source}: {stored} of {passages[source]} passages are in the index, as another process deleted or "
                    "wrote passages of this file: index it again"
                )


def source_meta(state: IndexedFile) -> dict[str, Any]:
    """
    Return the meta that links a passage to its file.

    :param state: The file.
    """
    return {"source": state.source, "source_fingerprint": state.fingerprint}
