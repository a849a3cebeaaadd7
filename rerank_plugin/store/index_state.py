"""The methods of a store that concern its index as a whole: settings, revision, backup, compaction, closing."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from haystack.dataclasses import Document

from rerank_plugin.checks import check_count
from rerank_plugin.store.folder import DATABASE
from rerank_plugin.store.indexed_files import IndexedFiles
from rerank_plugin.store.judgements import JudgementRecords
from rerank_plugin.store.maintenance import backup, compact
from rerank_plugin.store.reading import read_all
from rerank_plugin.store.session import Session


class IndexState:
    """The methods of a store that concern its index rather than single documents."""

    _session: Session

    def warm_up(self, *, keywords: bool = True, vectors: bool = True) -> None:
        """
        Bring the derived indexes up to date now rather than at the first query; cheap if nothing has changed.

        :param keywords: Whether keyword search will be used.
        :param vectors: Whether vector search will be used.
        """
        with self._session.reading() as handle:
            if keywords:
                self._session.keywords(handle).sync(handle.database)
            if vectors:
                self._session.vectors(handle).sync(handle.database)

    def settings(self) -> dict[str, Any]:
        """Return the settings of the index, under the names of this class's parameters."""
        with self._session.reading() as handle:
            stored = handle.database.settings.read()
            return {**asdict(stored), "search_fields": stored.search_fields and dict(stored.search_fields.weights)}

    @property
    def exists(self) -> bool:
        """Whether the index was created: by the first write into its folder, or in memory."""
        return self._session.exists

    def count_embeddings(self) -> int:
        """Return the number of documents that have an embedding."""
        with self._session.reading() as handle:
            return handle.database.vectors.count()

    def read_after(self, row: int, count: int) -> list[tuple[int, Document]]:
        """
        Read the documents in parts, with their embeddings, in the order in which they were first written.

        :param row: Row of the last document of the part before; 0 for the first part.
        :param count: Number of documents of a part.
        :returns: Row and document; fewer than `count` only at the end.
        :raises InvalidValueError: If `count` is less than 1.
        """
        check_count("count", count)
        with self._session.reading() as handle, handle.database.snapshot():
            return handle.database.documents.read_after(row, count)

    def verify(self) -> None:
        """
        Read every document and compare it with its checksum; takes about as long as reading the file.

        :raises StoreError: If one is damaged.
        """
        with self._session.reading() as handle:
            handle.database.verify()

    def revision(self) -> str:
        """
        Return a text that is another one after every change of the documents, and in every other index.

        A copy of the folder has the same one until either of the two is changed.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            changes = handle.database.changes
            return f"{handle.database.settings.index_id}:{changes.counter}:{changes.revision}"

    def describe_vectors(self) -> dict[str, Any]:
        """
        Describe how vectors are searched.

        :returns: The `kind` of vector index and the `reason` for it, the number of `vectors`, and how many of them are in
            the `trained` index (the others are compared one by one until there are enough to extend it).
        """
        with self._session.reading() as handle:
            vectors = self._session.vectors(handle)
            vectors.sync(handle.database)
            return vectors.describe()

    def recall(self, top_k: int = 10, queries: int = 100) -> float | None:
        """
        Measure the recall@k of vector search against exact search, with stored vectors as queries.

        :param top_k: Number of nearest neighbours per query.
        :param queries: Number of stored vectors to sample.
        :returns: The recall from 0 to 1, 1 for an exact index; None if there are no vectors.
        :raises InvalidValueError: If `top_k` is less than 1.
        """
        check_count("top_k", top_k)
        with self._session.reading() as handle:
            vectors = self._session.vectors(handle)
            vectors.sync(handle.database)
            with handle.database.snapshot():
                return vectors.recall(top_k, queries)

    @property
    def indexed_files(self) -> IndexedFiles:
        """The files that `rerank index` has read into this store, and how far it got in each."""
        return IndexedFiles(self._session)

    def read_all(self) -> Iterator[Document]:
        """Yield every document without its embedding, in the order of writing, without holding all of them in memory."""
        return read_all(self._session)

    @property
    def judgements(self) -> JudgementRecords:
        """What was judged in this index: queries, and the history of grades. See `rerank_plugin.judgements`."""
        return JudgementRecords(self._session)

    def backup(self, path: str | Path) -> None:
        """
        Copy the index as of this moment into another folder; other users may keep reading and writing.

        The copy holds the documents and settings. Its keyword and vector index are built when it is first searched.

        :param path: A folder that does not exist, or is empty.
        :raises StoreError: If the folder is not empty, or cannot be written.
        """
        with self._session.reading() as handle:
            backup(handle.database, Path(path).expanduser(), DATABASE)

    def compact(self) -> None:
        """
        Reclaim the disk space of deleted and replaced documents.

        This rewrites the whole index, so run it after large deletions, not after every write. It needs as much free disk
        space as the index occupies.
        """
        with self._session.reading() as handle:
            vectors = self._session.vectors(handle)
            compact(handle.database, [self._session.keywords(handle), vectors])

    def __enter__(self) -> Self:
        """Return the store; it is closed at the end of the `with` block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the store."""
        self.close()

    def close(self) -> None:
        """
        Bring the derived indexes on disk up to date and close the files. Closing twice is fine; a later call reopens them.

        An index in memory keeps its documents for as long as the store exists.
        """
        self._session.close()
