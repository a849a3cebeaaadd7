"""
What files are indexed into: an index of our own, or a store of another package.

A run asks a target for the same things in either case: one run at a time, which files are in it already, and that a file
which was read completely replaces its older passages.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rerank_plugin.store.indexed_files import FinishedFiles
from rerank_plugin.store.sqlite.indexed_files import IndexedFile

if TYPE_CHECKING:
    from haystack import Pipeline


class KnownFiles(Protocol):
    """The indexed files at one point in time."""

    @property
    def files(self) -> Mapping[str, IndexedFile]:
        """The record of each file, by source."""

    @property
    def sources(self) -> list[str]:
        """Every file that is known, sorted."""

    def is_whole(self, source: str, fingerprint: str) -> bool:
        """Return whether a file was indexed completely in this state, and exactly its passages are there."""

    def resumable(self, source: str, fingerprint: str) -> IndexedFile | None:
        """Return the record of an interrupted run that read the file in this state, if the passages it wrote are there."""


class FileRecords(Protocol):
    """The record of the indexed files; see `IndexedFiles` for what each method does."""

    def snapshot(self) -> KnownFiles:
        """Return the files as of now."""

    def begin(self, files: Iterable[IndexedFile]) -> list[IndexedFile]:
        """Record that files are being indexed from the beginning."""

    def put(self, files: Iterable[IndexedFile]) -> None:
        """Record how far files have been indexed."""

    def forget(self, sources: Collection[str], *, passages: bool) -> None:
        """Forget files, and their passages too if asked to."""

    def finish(self, sources: Mapping[str, int], *, merge: bool) -> FinishedFiles:
        """Remove the older passages of files that were read completely; record those as complete whose count is right."""


@dataclass(frozen=True)
class Progress:
    """
    What is kept of interrupted and complete runs.

    :param passages: Number of passages.
    :param complete: Number of files that were indexed completely.
    :param partial: Number of files that were indexed in part.
    """

    passages: int
    complete: int
    partial: int

    @classmethod
    def of(cls, passages: int, files: Collection[IndexedFile]) -> "Progress":
        """
        Count files.

        :param passages: Number of passages.
        :param files: Their records.
        """
        complete = sum(file.complete for file in files)
        return cls(passages, complete, len(files) - complete)


class Target(Protocol):
    """What files are indexed into. `str()` gives its name for messages."""

    @property
    def indexed_files(self) -> FileRecords:
        """The record of the indexed files."""

    def check(self) -> None:
        """Raise an error if nothing can be indexed into it with these settings."""

    def lock(self, *, wait: float, on_report: Callable[[str], None] | None) -> AbstractContextManager[None]:
        """Hold the right to index into it; see `indexing_lock`."""

    def connect(self, pipeline: "Pipeline", *, writer: str) -> None:
        """Let the components of an indexing pipeline use its store."""

    def finish_run(self) -> None:
        """Tidy up at the end of a run that was not interrupted."""

    def progress(self) -> "Progress":
        """Return what is kept of the runs so far, as far as this machine knows."""

    def close(self) -> None:
        """Bring everything up to date and release it."""
