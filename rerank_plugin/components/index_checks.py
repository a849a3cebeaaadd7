"""What a retriever says about an index that cannot answer: one that is missing, empty, or lacks embeddings."""

import logging

from rerank_plugin.errors import StoreError
from rerank_plugin.store.document_store import HybridDocumentStore

logger = logging.getLogger(__name__)

RAISE, WARN = MISSING_EMBEDDINGS = ("raise", "warn")
_EMBED = "index the files again with a pipeline that embeds (`rerank index PATH... --pipeline indexing`)"


class IndexChecks:
    """
    Examines the index of a store; each warning is logged once.

    :param store: The store.
    """

    def __init__(self, store: HybridDocumentStore) -> None:
        self._store = store
        self._warned: set[str] = set()

    def explain_no_hits(self) -> int:
        """
        Look for a reason why a search found nothing; a store in memory may be empty.

        :returns: The number of documents.
        :raises StoreError: If there is no index in the folder.
        """
        place = self._store.path
        if not self._store.exists:
            raise StoreError(f"there is no index in {place}: check the path, or create one with `rerank index PATH...`")
        count = self._store.count_documents()
        if not count and place is not None:
            self._warn(f"the index {place} holds no documents: fill it with `rerank index PATH... --index {place}`")
        return count

    def explain_no_vectors(self, missing_embeddings: str) -> None:
        """
        Look for a reason why a vector search found nothing.

        :param missing_embeddings: One of `MISSING_EMBEDDINGS`.
        :raises StoreError: If there is no index in the folder; or, with `raise`, if no document has an embedding.
        """
        count = self.explain_no_hits()
        if not count or self._store.count_embeddings():
            return
        reason = f"none of the {count:,} documents in {self._place} has an embedding"
        if missing_embeddings == RAISE:
            raise StoreError(
                f"{reason}, which dense search needs: {_EMBED}, or search by keywords "
                "(`rerank search --pipeline bm25_rerank`)"
            )
        self._warn(f"{reason}, so that keyword search (BM25) alone answers: {_EMBED}")

    def warn_of_gaps(self) -> None:
        """Warn if only some of the documents have an embedding: vector search cannot find the others."""
        count, embedded = self._store.count_documents(), self._store.count_embeddings()
        if 0 < embedded < count:
            self._warn(
                f"{count - embedded:,} of the {count:,} documents in {self._place} have no embedding, and dense search "
                f"cannot find them: {_EMBED}"
            )

    @property
    def _place(self) -> str:
        return "memory" if self._store.path is None else f"the index {self._store.path}"

    def _warn(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            logger.warning("%s", message)
