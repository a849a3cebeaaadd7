"""What the parts of one indexing run share: where passages go, what was indexed before, and what has been done so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rerank_plugin.indexing.content import SourceFile
from rerank_plugin.indexing.pipeline import IndexingPipeline
from rerank_plugin.indexing.text_repair import TextRepair
from rerank_plugin.progress import CountCallback
from rerank_plugin.store.indexed_files import IndexedFiles, IndexedFilesSnapshot
from rerank_plugin.store.sqlite.indexed_files import IndexedFile


@dataclass
class IndexReport:
    """
    What a run did.

    :param files: Files that were indexed, or indexed to their end after an interruption.
    :param unchanged: Files that were left alone.
    :param pruned: Files whose passages were dropped, as they are gone.
    :param passages: Passages written.
    :param repaired: Texts (files; of a corpus titles and passages) whose encoding was repaired.
    :param failed: For each file or folder that could not be indexed, why.
    :param skipped: For each thing that was passed over because it is no regular file or a link to elsewhere, what it is.
    """

    files: int = 0
    unchanged: int = 0
    pruned: int = 0
    passages: int = 0
    repaired: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass
class IndexingJob:
    """
    The state of one run.

    :param pipeline: What converts and writes.
    :param known: What was indexed before this run.
    :param report: What has been done so far.
    :param on_progress: Told how far the run is.
    :param repair: Repairs texts, if that was asked for.
    """

    pipeline: IndexingPipeline
    known: IndexedFilesSnapshot
    report: IndexReport
    on_progress: CountCallback | None = None
    repair: TextRepair | None = None
    _done: int = 0
    _total: int = 0

    @property
    def indexed_files(self) -> IndexedFiles:
        """The store's table of indexed files."""
        return self.pipeline.store.indexed_files

    def is_unchanged(self, file: SourceFile) -> bool:
        """
        Tell whether a file was indexed to its end as it is now. One whose size has changed is not read for that.

        :param file: The file.
        :raises InputFileError: If it cannot be read.
        """
        before = self.known.files.get(file.source)
        if before is None or not before.complete or before.size != file.size():
            return False
        return self.known.is_whole(file.source, file.fingerprint(self.pipeline.salt))

    def expect(self, units: int) -> None:
        """
        Add to the units in all.

        :param units: How many more there are.
        """
        self._total += units

    def advance(self, units: int) -> None:
        """
        Add to the units done, and report them.

        :param units: How many more are done.
        """
        self._done += units
        if self.on_progress:
            self.on_progress(self._done, self._total)

    def finish(self, passages: Mapping[str, int]) -> None:
        """
        Complete files that were written to their end, or report that passages of them are missing.

        :param passages: For each file how many it has.
        """
        for source, standing in self.indexed_files.finish(passages).items():
            if standing == passages[source]:
                self.report.files += 1
            else:
                self.report.failed.append(
                    f"{source}: {standing} of {passages[source]} passages stand in the index, as something else deleted or "
                    "wrote passages of this file meanwhile: index it again"
                )


def source_meta(state: IndexedFile) -> dict[str, Any]:
    """
    Return the meta that ties a passage to its file.

    :param state: The file.
    """
    return {"source": state.source, "source_fingerprint": state.fingerprint}
