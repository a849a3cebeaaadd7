"""What a store knows about the files that were indexed into it. Used by one indexing run at a time; see `indexing_lock`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rerank_plugin.store.session import Session
from rerank_plugin.store.sqlite.indexed_files import IndexedFile


@dataclass(frozen=True)
class IndexedFilesSnapshot:
    """
    The indexed files at one moment.

    :param files: What was recorded of each file, by source.
    :param passages: How many passages really stand in the store: source -> fingerprint -> count.
    """

    files: Mapping[str, IndexedFile]
    passages: Mapping[str, Mapping[str, int]]

    @property
    def sources(self) -> list[str]:
        """Every file that was recorded or has passages, sorted."""
        return sorted(self.files.keys() | self.passages.keys())

    def is_whole(self, source: str, fingerprint: str) -> bool:
        """
        Tell whether a file was indexed to its end in just this state, and all of its passages, and no others, are there.

        :param source: The file.
        :param fingerprint: Its state.
        """
        file = self.files.get(source)
        if file is None or not file.complete or file.fingerprint != fingerprint:
            return False
        return self.passages.get(source, {}) == {fingerprint: file.passages}

    def resumable(self, source: str, fingerprint: str) -> IndexedFile | None:
        """
        Return the record of an interrupted run that read the file in just this state, if all that it wrote is there.

        :param source: The file.
        :param fingerprint: Its state.
        """
        file = self.files.get(source)
        if file is None or file.complete or file.fingerprint != fingerprint:
            return None
        standing = self.passages.get(source, {}).get(fingerprint, 0)
        return file if standing >= file.passages else None


class IndexedFiles:
    """
    The table of indexed files of a store.

    :param session: The store's hold on its index.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def snapshot(self) -> IndexedFilesSnapshot:
        """
        Return what is recorded, and what stands in the store, at one moment.

        :raises StoreError: If the index cannot be read, or was built with other settings than the store's.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            table = handle.database.indexed_files
            return IndexedFilesSnapshot(table.files(), table.passage_counts())

    def begin(self, files: Iterable[IndexedFile]) -> list[IndexedFile]:
        """
        Record that files are being indexed from their start, before their first passage is written.

        :param files: The files; `since` is set here.
        :returns: The files as they were recorded.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing(create=True) as handle:
            begun = [replace(file, since=handle.database.changes.counter) for file in files]
            handle.database.indexed_files.put(begun)
        return begun

    def put(self, files: Iterable[IndexedFile]) -> None:
        """
        Record how far files have been indexed.

        :param files: The files as they are now.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing() as handle:
            handle.database.indexed_files.put(files)

    def forget(self, sources: Collection[str], *, passages: bool) -> None:
        """
        Forget files.

        :param sources: The files.
        :param passages: Whether to delete their passages, too.
        :raises StoreError: If the index cannot be written.
        """
        with self._session.writing() as handle:
            table = handle.database.indexed_files
            if passages:
                handle.database.documents.delete([row for source in sources for row in table.rows(source)])
            table.remove(sources)

    def finish(self, sources: Mapping[str, int]) -> dict[str, int]:
        """
        Delete the older passages of files that were read to their end, count what stands, and record them as complete if
        that is all. One transaction: no search sees a file half replaced, and no crash leaves it so.

        :param sources: For each file the number of its passages.
        :returns: For each file the number of passages that stand; one with fewer or more is not complete, and will be
            indexed from its start.
        :raises StoreError: If the index cannot be written.
        """
        standing: dict[str, int] = {}
        with self._session.writing() as handle:
            table = handle.database.indexed_files
            for source, expected in sources.items():
                file = table.get(source)
                if file is None:  # somebody deleted all documents meanwhile
                    standing[source] = 0
                    continue
                handle.database.documents.delete(table.stale_rows(file))
                standing[source] = len(table.rows(source))
                complete = standing[source] == expected
                table.put([replace(file, documents=0, passages=expected if complete else 0, complete=complete)])
        return standing
