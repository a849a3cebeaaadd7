"""BM25Retriever: the first stage by words."""

import asyncio
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from rerank_plugin.store.document_store import HybridDocumentStore
from rerank_plugin.store.retrieval import check_top_k


@component
class BM25Retriever:
    """
    Retrieves the documents of a HybridDocumentStore that suit the words of a query best.

    ```python
    from haystack import Document
    from rerank_plugin import BM25Retriever, HybridDocumentStore

    document_store = HybridDocumentStore()
    document_store.write_documents([Document(content="Foxes hunt at night."), Document(content="Bees sleep at night.")])
    print(BM25Retriever(document_store).run(query="hunting fox")["documents"])
    ```

    :param document_store: Where to look.
    :param top_k: How many documents to return at most.
    :param filters: Only documents that match come back.
    :param filter_policy: Whether filters at run time replace these filters or are merged with them.
    :param operators: Read `"a phrase"` and `+word` in queries as required, `-word` and `-"a phrase"` as excluded; for people
        who type queries, not for questions that a program passes on.
    :param highlights: Write into `meta["highlights"]` where the words of the query stand in the content, as a list of
        `[first position, position after the last]`.
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
        operators: bool = False,
        highlights: bool = False,
    ) -> None:
        if not isinstance(document_store, HybridDocumentStore):
            raise TypeError(
                f"document_store must be a HybridDocumentStore, got {type(document_store).__name__}: other stores have "
                "retrievers of their own"
            )
        check_top_k(top_k)
        self.document_store = document_store
        self.top_k = top_k
        self.filters = filters
        self.filter_policy = (
            filter_policy if isinstance(filter_policy, FilterPolicy) else FilterPolicy.from_str(filter_policy)
        )
        self.operators = operators
        self.highlights = highlights

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, as a pipeline's YAML keeps it."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            top_k=self.top_k,
            filters=self.filters,
            filter_policy=self.filter_policy.value,
            operators=self.operators,
            highlights=self.highlights,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "BM25Retriever":
        """
        Return the component that `to_dict` described.

        :param data: The dictionary.
        """
        return default_from_dict(cls, data)

    def warm_up(self) -> None:
        """Catch the keyword index up, so that the first query need not; cheap if there is nothing to do."""
        self.document_store.warm_up(vectors=False)

    def close(self) -> None:
        """Close the files of the store; the next query opens them again."""
        self.document_store.close()

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, list[Document]]:
        """
        Retrieve documents.

        :param query: Any text; no character in it has a special meaning.
        :param filters: Filters for this query; `filter_policy` says how they meet those of the component.
        :param top_k: How many documents to return at most, if other than the component says.
        :returns: `documents`: new documents with their BM25 score, best first.
        :raises InvalidValueError: If the query is empty or `top_k` is less than 1.
        """
        documents = self.document_store.bm25_retrieval(
            query,
            filters=apply_filter_policy(self.filter_policy, self.filters, filters),
            top_k=self.top_k if top_k is None else top_k,
            operators=self.operators,
            highlights=self.highlights,
        )
        return {"documents": documents}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """
        Retrieve documents in a thread, so that the event loop goes on.

        :param query: Any text; no character in it has a special meaning.
        :param filters: Filters for this query; `filter_policy` says how they meet those of the component.
        :param top_k: How many documents to return at most, if other than the component says.
        :returns: `documents`: new documents with their BM25 score, best first.
        :raises InvalidValueError: If the query is empty or `top_k` is less than 1.
        """
        return await asyncio.to_thread(self.run, query, filters, top_k)
