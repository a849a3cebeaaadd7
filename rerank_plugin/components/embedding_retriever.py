"""EmbeddingRetriever: the first stage by vectors."""

from typing import Any

from haystack import Document, component
from haystack.document_stores.types import FilterPolicy

from rerank_plugin.checks import check_flag
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

    :param document_store: Where to look.
    :param top_k: How many documents to return at most.
    :param filters: Only documents that match come back.
    :param filter_policy: Whether filters at run time replace these filters or are merged with them.
    :param scale_score: Bring the scores between 0 and 1, as Haystack's InMemoryEmbeddingRetriever does: (score + 1) / 2 for
        `cosine`, expit(score / 100) for `dot_product`; those of `l2` are already. Off by default, as there.
    :param return_embedding: Whether the documents come with their embeddings.
    :raises TypeError: If the store is no HybridDocumentStore.
    :raises InvalidValueError: If `top_k` is less than 1.
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
    ) -> None:
        # Not `super()`: the decorator makes the class anew, and `super()` knows the old one.
        StoreRetriever.__init__(
            self, document_store, top_k=top_k, filters=filters, filter_policy=filter_policy, scale_score=scale_score
        )
        self.return_embedding = check_flag("return_embedding", return_embedding)

    def _own_parameters(self) -> dict[str, Any]:
        return {"return_embedding": self.return_embedding}

    def warm_up(self) -> None:
        """Load the vectors, so that the first query need not; cheap if there is nothing to do."""
        self.document_store.warm_up(keywords=False)

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
        Retrieve documents; `run_async` does it in a thread, so that an event loop goes on.

        :param query_embedding: The embedding of the query.
        :param filters: Filters for this query; `filter_policy` says how they meet those of the component.
        :param top_k: How many documents to return at most, if other than the component says.
        :param scale_score: Whether scores are brought between 0 and 1, if other than the component says.
        :param return_embedding: Whether the documents come with their embeddings, if other than the component says.
        :returns: `documents`: new documents with their similarity as score, best first.
        :raises InvalidValueError: If the embedding does not fit the index, or `top_k` is less than 1.
        :raises FilterError: If the filters are malformed.
        """
        if return_embedding is not None:
            check_flag("return_embedding", return_embedding)
        documents = self.document_store.embedding_retrieval(
            query_embedding,
            return_embedding=self.return_embedding if return_embedding is None else return_embedding,
            **self._options(filters, top_k, scale_score),
        )
        return {"documents": documents}

    run_async = in_thread(run)
