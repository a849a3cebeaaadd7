"""The files that were indexed into a store. Used by one indexing run at a time; see `indexing_lock`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rerank_plugin.store.session import Session
from rerank_plugin.store.shared_passages import SharedPassages
from rerank_plugin.store.sqlite.indexed_files import IndexedFile


@dataclass(frozen=True)
class IndexedFilesSnapshot:
    """
    The indexed files at one point in time.

    :param files: The record of each file, by source.
    :param passages: Number of passages actually in the store: source -> fingerprint -> count.
    """

    files: Mapping[str, IndexedFile]
    passages: Mapping[str, Mapping[str, int]]

    @property
    def sources(self) -> list[str]:
        """Every file that was recorded or has passages, sorted."""
        return sorted(self.files.keys() | self.passages.keys())

    def is_whole(self, source: str, fingerprint: str) -> bool:
        """
        Return whether a file was indexed completely in this state, and exactly its passages are in the store.

        :param source: The file.
        :param fingerprint: Its fingerprint.
        """
        file = self.files.get(source)
        if file is None or not file.complete or file.fingerprint != fingerprint:
            return False
        return self.passages.get(source, {}) == {fingerprint: file.passages}

    def resumable(self, source: str, fingerprint: str) -> IndexedFile | None:
        """
        Return the record of an interrupted run that read the file in this state, if all passages it wrote are in the store.

        :param source: The file.
        :param fingerprint: Its fingerprint.
        """
        file = self.files.get(source)
        if file is None or file.complete or file.fingerprint != fingerprint:
            return None
        stored = self.passages.get(source, {}).get(fingerprint, 0)
        return file if stored >= file.passages else None


@dataclass(frozen=True)
class FinishedFiles:
    """
    What stands in the store of files that were read completely.

    :param passages: For each file the number of its passages.
    :param merged: How many passages were merged with an equal one, of these files or of others.
    """

    passages: Mapping[str, int]
    merged: int


class IndexedFiles:
    """
    The table of indexed files of a store.

    :param session: The store's session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def snapshot(self) -> IndexedFilesSnapshot:
        """
        Return the records, and the passages in the store, as of one transaction.

        :raises StoreError: If the index cannot be read, or was built with other settings than the store's.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            table = handle.database.indexed_files
            return IndexedFilesSnapshot(table.files(), table.passage_counts())

    def begin(self, files: Iterable[IndexedFile]) -> list[IndexedFile]:
        """
        Record that files are being indexed from the beginning, before their first passage is written.

        :param files: The files; `since` is set here.
        :returns: The files as recorded.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing(create=True) as handle:
            begun = [replace(file, since=handle.database.changes.counter) for file in files]
            handle.database.indexed_files.put(begun)
        return begun

    def put(self, files: Iterable[IndexedFile]) -> None:
        """
        Record how far files have been indexed.

        :param files: The updated records.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing() as handle:
            handle.database.indexed_files.put(files)

    def forget(self, sources: Collection[str], *, passages: bool) -> None:
        """
        Forget files.

        :param sources: The files.
        :param passages: Whether to remove their passages, too; a passage that also occurs in another file stays.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing() as handle:
            table = handle.database.indexed_files
            if passages:
                old = [row for source in sources for row in table.rows(source)]
                SharedPassages(handle.database).replace_files(sources, old)
            table.remove(sources)

    def finish(self, sources: Mapping[str, int], *, merge: bool) -> FinishedFiles:
        """
        Remove the older passages of files that were read completely, count the passages that remain, and record the file
        as complete if the count is as expected. All in one transaction: neither a search nor a crash can leave a file half
        replaced.

        :param sources: For each file the number of its passages.
        :param merge: Whether to store passages once that are equal to others that were merged; see `shared_passages`.
        :returns: The passages in the store. A file with fewer or more than expected is not recorded as complete, and will
            be indexed again from the beginning.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing() as handle:
            table = handle.database.indexed_files
            # A file without a record: all documents were deleted meanwhile.
            files = [file for file in map(table.get, sources) if file is not None]
            old = {row for file in files for row in table.stale_rows(file)}
            new = [row for file in files for row in table.rows(file.source) if row not in old] if merge else []
            merged = SharedPassages(handle.database).replace_files([file.source for file in files], old, new)
            stored = dict.fromkeys(sources, 0) | {file.source: table.passage_count(file.source) for file in files}
            table.put(_finished(file, stored[file.source], expected=sources[file.source]) for file in files)
        return FinishedFiles(stored, merged)


def _finished(file: IndexedFile, stored: int, *, expected: int) -> IndexedFile:
    complete = stored == expected
    return replace(file, documents=0, passages=expected if complete else 0, complete=complete)
