"""EmbeddingRetriever: vector retrieval as first stage."""

from typing import Any

from haystack import Document, component
from haystack.document_stores.types import FilterPolicy

from rerank_plugin.checks import check_choice, check_flag
from rerank_plugin.components.index_checks import MISSING_EMBEDDINGS, RAISE
from rerank_plugin.components.store_retriever import StoreRetriever
from rerank_plugin.store.document_store import HybridDocumentStore
from rerank_plugin.store.in_thread import in_thread


@component
class EmbeddingRetriever(StoreRetriever):
    """
    Retrieves the documents of a HybridDocumentStore whose embeddings are most similar to that of a query.

    ```python
    from haystack import Document
    from rerank_plugin import EmbeddingRetriever, HybridDocumentStore

    document_store = HybridDocumentStore()
    fox, bee = Document(content="fox", embedding=[1, 0]), Document(content="bee", embedding=[0, 1])
    document_store.write_documents([fox, bee])
    print(EmbeddingRetriever(document_store).run(query_embedding=[0.9, 0.1])["documents"])
    ```

    :param document_store: The store to search.
    :param top_k: Maximum number of documents to return.
    :param filters: Return only documents that match.
    :param filter_policy: Whether filters given at run time replace these filters or are merged with them.
    :param scale_score: Scale scores to the range 0 to 1, as Haystack's InMemoryEmbeddingRetriever does: (score + 1) / 2 for
        `cosine`, expit(score / 100) for `dot_product`; those of `l2` already are. Off by default, as there.
    :param return_embedding: Whether to return the documents' embeddings.
    :param missing_embeddings: What to do if documents are there, but none has an embedding: `raise` an error, or `warn` and
        return nothing, which suits a retriever that is joined with a keyword retriever.
    :raises TypeError: If the store is not a HybridDocumentStore.
    :raises InvalidValueError: If `top_k` is less than 1, or `missing_embeddings` is something else.
    """

    def __init__(
        self,
        document_store: HybridDocumentStore,
        *,
        top_k: int = 10,
        filters: dict[str, Any] | None = None,
        filter_policy: str | FilterPolicy = FilterPolicy.REPLACE,
        scale_score: bool = False,
        return_embedding: bool = False,
        missing_embeddings: str = RAISE,
    ) -> None:
        # Not `super()`: the decorator creates a new class, and `super()` refers to the old one.
        StoreRetriever.__init__(
            self, document_store, top_k=top_k, filters=filters, filter_policy=filter_policy, scale_score=scale_score
        )
        self.return_embedding = check_flag("return_embedding", return_embedding)
        check_choice("missing_embeddings", missing_embeddings, MISSING_EMBEDDINGS)
        self.missing_embeddings = missing_embeddings

    def _own_parameters(self) -> dict[str, Any]:
        return {"return_embedding": self.return_embedding, "missing_embeddings": self.missing_embeddings}

    def warm_up(self) -> None:
        """
        Load the vectors, so that the first query need not; cheap if they are already loaded.

        A warning is logged if some documents, but not all, lack an embedding.
        """
        self.document_store.warm_up(keywords=False)
        self._checks.warn_of_gaps()

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """
        Retrieve documents; `run_async` does so in a thread, without blocking the event loop.

        :param query_embedding: The embedding of the query.
        :param filters: Filters for this query; `filter_policy` decides how they combine with the component's.
        :param top_k: Maximum number of documents to return; `None` means as configured.
        :param scale_score: Whether to scale scores to the range 0 to 1; `None` means as configured.
        :param return_embedding: Whether to return the documents' embeddings; `None` means as configured.
        :returns: `documents`: new documents with their similarity as score, best first.
        :raises InvalidValueError: If the embedding does not fit the index, or `top_k` is less than 1.
        :raises FilterError: If the filters are malformed.
        :raises StoreError: If there is no index in the store's folder; or if none of its documents has an embedding, unless
            `missing_embeddings` is `warn`.
        """
        if return_embedding is not None:
            check_flag("return_embedding", return_embedding)
        documents = self.document_store.embedding_retrieval(
            query_embedding,
            return_embedding=self.return_embedding if return_embedding is None else return_embedding,
            **self._options(filters, top_k, scale_score),
        )
        if not documents:
            self._checks.explain_no_vectors(self.missing_embeddings)
        return {"documents": documents}

    run_async = in_thread(run)
