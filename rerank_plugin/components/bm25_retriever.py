"""BM25Retriever: keyword retrieval as first stage."""

from typing import Any

from haystack import Document, component
from haystack.document_stores.types import FilterPolicy

from rerank_plugin.checks import check_flag
from rerank_plugin.components.store_retriever import StoreRetriever
from rerank_plugin.store.document_store import HybridDocumentStore
from rerank_plugin.store.in_thread import in_thread


@component
class BM25Retriever(StoreRetriever):
    """
    Retrieves the documents of a HybridDocumentStore that match the words of a query best.

    ```python
    from haystack import Document
    from rerank_plugin import BM25Retriever, HybridDocumentStore

    document_store = HybridDocumentStore()
    document_store.write_documents([Document(content="Foxes hunt at night."), Document(content="Bees sleep at night.")])
    print(BM25Retriever(document_store).run(query="hunting fox")["documents"])
    ```

    :param document_store: The store to search.
    :param top_k: Maximum number of documents to return.
    :param filters: Return only documents that match.
    :param filter_policy: Whether filters given at run time replace these filters or are merged with them.
    :param scale_score: Scale scores to the range 0 to 1 by expit(score / 8), as Haystack's InMemoryBM25Retriever does; off
        by default, as there.
    :param operators: Read `"a phrase"` and `+word` in queries as required, `-word` and `-"a phrase"` as excluded. Meant for
        typed search queries, not for questions that a program passes on.
    :param highlights: Write the positions of the query's words in the content to `meta["highlights"]`, as a list of
        `[first position, position after the last]`.
    :raises TypeError: If the store is not a HybridDocumentStore.
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
        operators: bool = False,
        highlights: bool = False,
    ) -> None:
        # Not `super()`: the decorator creates a new class, and `super()` refers to the old one.
        StoreRetriever.__init__(
            self, document_store, top_k=top_k, filters=filters, filter_policy=filter_policy, scale_score=scale_score
        )
        self.operators = check_flag("operators", operators)
        self.highlights = check_flag("highlights", highlights)

    def _own_parameters(self) -> dict[str, Any]:
        return {"operators": self.operators, "highlights": self.highlights}

    def warm_up(self) -> None:
        """Bring the keyword index up to date, so that the first query need not; cheap if it already is."""
        self.document_store.warm_up(vectors=False)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, list[Document]]:
        """
        Retrieve documents; `run_async` does so in a thread, without blocking the event loop.

        :param query: Any text; no character in it has a special meaning, unless `operators` is set.
        :param filters: Filters for this query; `filter_policy` decides how they combine with the component's.
        :param top_k: Maximum number of documents to return; `None` means as configured.
        :param scale_score: Whether to scale scores to the range 0 to 1; `None` means as configured.
        :returns: `documents`: new documents with their BM25 score, best first.
        :raises InvalidValueError: If the query is empty or not text, or `top_k` is less than 1.
        :raises FilterError: If the filters are malformed.
        :raises StoreError: If there is no index in the store's folder. An empty index is a warning in the log.
        """
        documents = self.document_store.bm25_retrieval(
            query, operators=self.operators, highlights=self.highlights, **self._options(filters, top_k, scale_score)
        )
        if not documents:
            self._checks.explain_no_hits()
        return {"documents": documents}

    run_async = in_thread(run)
