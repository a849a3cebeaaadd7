"""HybridDocumentStore: an index as a Haystack document store."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from haystack import default_from_dict, default_to_dict
from haystack.dataclasses import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError

from rerank_plugin.checks import check_count
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.filtering.filters import RowFilter
from rerank_plugin.store.filtering.metadata import MetadataQueries
from rerank_plugin.store.handles import Handle
from rerank_plugin.store.in_thread import in_thread
from rerank_plugin.store.index_state import IndexState
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.keywords.highlights import Span, span_finder
from rerank_plugin.store.keywords.query import KeywordQuery, check_query, parse_operators
from rerank_plugin.store.keywords.types import BM25Parameters
from rerank_plugin.store.retrieval import retrieve
from rerank_plugin.store.scaling import BM25, scaled
from rerank_plugin.store.session import Session
from rerank_plugin.store.settings import Settings, check_vector_index
from rerank_plugin.store.sqlite.records import check_dimension, check_documents, check_vector, encode, encode_meta
from rerank_plugin.store.writing import Batch, check_policy

Filters = dict[str, Any]


class HybridDocumentStore(IndexState, MetadataQueries):
    """
    Documents, a keyword index and a vector index in one folder, or in memory.

    SQLite holds the documents; a write is durable when `write_documents` returns. The vector index (FAISS) and the keyword
    index (tantivy or rank-bm25) are derived from it and brought up to date before each search. Filters are exact and are
    applied before the search. Several stores, threads and processes may share one folder; writers wait for each other.

    Close a store when it is no longer used, or use it in a `with` block; a later call opens it again. A process may fork
    between two calls, and parent and child can both continue to use the store. A fork waits for calls in other threads.

    Every method that reads or writes documents has an async version, whose name ends in `_async`.

    Meta is stored as JSON, so tuples are returned as lists. Embeddings are returned as given, whatever the similarity.

    :param path: Folder of the index; created by the first write. A folder that does not exist reads as an empty index.
        `None`: in memory.
    :param embedding_dim: Length of the vectors. `None`: that of the first vector written.
    :param similarity: `cosine`, `dot_product` or `l2`. `None`: that of the existing index, `cosine` for a new one.
    :param vector_index: `flat` compares every vector. `hnsw` and `ivf` are approximate and compare only candidates, with
        `_sq8` in a quarter of the memory; scores are exact in every case. `auto`: `flat` up to 100,000 vectors, `ivf_sq8`
        beyond.
    :param keyword_engine: `tantivy` (incremental, on disk) or `rank_bm25` (pure Python, in memory). `None`: that of the
        existing index, `tantivy` for a new one.
    :param language: Language of the texts, for stemming: `en`, `ru`, `de` or another with a Snowball stemmer
        (`analysis.STEMMERS`), or `simple` for none. `None`: that of the existing index, `en` for a new one.
    :param search_fields: The fields that keyword search covers, with weights: `{"title": 3, "authors": 2, "content": 1}`. A
        word in a field of weight 3 counts as three (BM25F). `None`: those of the existing index, or for a new one
        `{"title": 1, "content": 1}`.
    :param bm25_parameters: `{"k1": 1.2, "b": 0.75}` or other values; other values need the engine `rank_bm25`.
    :param stop_words: Leave function words out of the keyword index; available for `en` and `ru` only. `None`: as in the
        existing index, `False` for a new one: they can be searched for, but do not count beside other words of a query.
    :raises InvalidValueError: If a value is not one of these. If an existing index was built with another `embedding_dim`,
        `similarity`, `language`, `stop_words` or `search_fields` than requested, its first use raises StoreError.
    """

    def __init__(  # noqa: PLR0913 - the settings of an index, each with a default
        self,
        path: str | Path | None = None,
        *,
        embedding_dim: int | None = None,
        similarity: str | None = None,
        vector_index: str = "auto",
        keyword_engine: str | None = None,
        language: str | None = None,
        stop_words: bool | None = None,
        search_fields: dict[str, int] | None = None,
        bm25_parameters: dict[str, float] | None = None,
    ) -> None:
        fields = None if search_fields is None else SearchFields.of(search_fields)
        asked = Settings(similarity, keyword_engine, language, stop_words, embedding_dim, fields)
        check_vector_index(vector_index)
        self.path = path
        self.embedding_dim = embedding_dim
        self.similarity = similarity
        self.vector_index = vector_index
        self.keyword_engine = keyword_engine
        self.language = language
        self.stop_words = stop_words
        self.search_fields = search_fields
        self.bm25_parameters = bm25_parameters
        self._session = Session(path, asked, vector_index, BM25Parameters.of(bm25_parameters))

    def to_dict(self) -> dict[str, Any]:
        """Return the store as a dictionary, for pipeline YAML."""
        return default_to_dict(
            self,
            path=None if self.path is None else str(self.path),
            embedding_dim=self.embedding_dim,
            similarity=self.similarity,
            vector_index=self.vector_index,
            keyword_engine=self.keyword_engine,
            language=self.language,
            stop_words=self.stop_words,
            search_fields=self.search_fields,
            bm25_parameters=self.bm25_parameters,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "HybridDocumentStore":
        """
        Return the store that `to_dict` described.

        :param data: The dictionary.
        """
        return default_from_dict(cls, data)

    def count_documents(self) -> int:
        """Return the number of documents."""
        with self._session.reading() as handle:
            return handle.database.documents.count()

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """
        Return the matching documents, with their embeddings, in the order in which they were first written.

        :param filters: Haystack filters; `None` or empty for all documents.
        :raises FilterError: If the filters are malformed, or compare values that cannot be compared.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            return [document for _, document in handle.database.documents.read(_rows(handle, filters))]

    def sample_documents(self, count: int, *, seed: int = 0) -> list[Document]:
        """
        Return documents chosen at random, without embeddings, whatever the size of the index.

        :param count: Maximum number of documents.
        :param seed: The same seed chooses the same documents of an unchanged index.
        :returns: The documents, in the order in which they were first written.
        :raises InvalidValueError: If `count` is below 1.
        """
        check_count("count", count)
        rng = random.Random(seed)  # noqa: S311 - reproducible sampling, not secrets
        chosen: list[tuple[int, Document]] = []
        with self._session.reading() as handle, handle.database.snapshot():
            # Vitter's algorithm R (1985): one pass, and only the sample in memory.
            for number, entry in enumerate(handle.database.documents.read(None, embeddings=False)):
                if number < count:
                    chosen.append(entry)
                elif (place := rng.randrange(number + 1)) < count:
                    chosen[place] = entry
        return [document for _, document in sorted(chosen, key=lambda entry: entry[0])]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """
        Write documents: all of them or, if one is invalid, none.

        :param documents: The documents; content and embedding are optional.
        :param policy: What to do with a document whose id already exists. `NONE` means `FAIL`.
        :returns: Number of documents written; with `OVERWRITE` always the number of documents given.
        :raises InvalidValueError: If an item is not a Document, an embedding differs in length from those in the index or
            contains NaN or infinity, or meta is not JSON-serialisable.
        :raises DuplicateDocumentError: If an id exists and the policy is `FAIL`.
        :raises StoreError: If the index is damaged or cannot be written.
        """
        given = check_documents(documents)
        check_policy(policy)
        if not given:
            return 0
        with self._session.reading() as handle:
            fields = _search_fields(handle)
        batch = Batch(given, self.embedding_dim, fields)
        with self._session.writing(create=True) as handle:
            # Another process may meanwhile have created the index with other search fields.
            if _search_fields(handle) != batch.search_fields:
                batch = Batch(given, self.embedding_dim, _search_fields(handle))
            return batch.store(handle.database, policy)

    def delete_documents(self, document_ids: list[str]) -> None:
        """
        Delete documents; ids that do not exist are ignored.

        :param document_ids: Their ids.
        :raises InvalidValueError: If it is a string: a single id must be in a list, too.
        """
        if isinstance(document_ids, str):
            raise InvalidValueError(f"document_ids must be a list of ids, got the string {document_ids!r}")
        with self._session.writing() as handle:
            documents = handle.database.documents
            documents.delete(list(documents.rows_of(list(document_ids)).values()))

    def delete_all_documents(self) -> None:
        """Delete every document. The next embedding may have another length, unless `embedding_dim` was given."""
        with self._session.writing() as handle:
            handle.database.documents.delete_all(self.embedding_dim)

    def delete_by_filter(self, filters: Filters) -> int:
        """
        Delete the matching documents.

        :param filters: Haystack filters.
        :returns: Number of deleted documents.
        :raises FilterError: If the filters are malformed or empty.
        """
        _refuse_empty(filters, "use delete_all_documents() to delete every document")
        with self._session.writing() as handle:
            rows = _rows(handle, filters) or []
            handle.database.documents.delete(rows)
            return len(rows)

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """
        Merge values into the meta of the matching documents.

        :param filters: Haystack filters.
        :param meta: The values; other fields stay unchanged.
        :returns: Number of updated documents.
        :raises FilterError: If the filters are malformed or empty.
        :raises InvalidValueError: If meta is not JSON-serialisable.
        """
        _refuse_empty(filters, "filter for the documents to update")
        encode_meta(meta, "(every match)")
        with self._session.writing() as handle:
            documents, fields = handle.database.documents, _search_fields(handle)
            matching = documents.read(_rows(handle, filters), embeddings=False)
            changed = [(row, encode(_merged(document, meta), fields)) for row, document in matching]
            if changed:
                documents.update_meta(changed)
            return len(changed)

    def count_documents_by_filter(self, filters: Filters) -> int:
        """
        Return the number of matching documents.

        :param filters: Haystack filters; empty for all documents.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            rows = _rows(handle, filters)
            return handle.database.documents.count() if rows is None else len(rows)

    def bm25_retrieval(
        self,
        query: str,
        *,
        filters: Filters | None = None,
        top_k: int = 10,
        operators: bool = False,
        highlights: bool = False,
        scale_score: bool = False,
    ) -> list[Document]:
        """
        Return the documents that match the words of a query best, by BM25 over the `search_fields` (title and content).

        :param query: Any text; no character in it has a special meaning, unless `operators` is set.
        :param filters: Only matching documents are returned.
        :param top_k: Number of documents; fewer only if fewer match the filters and contain a word of the query.
        :param operators: Read `"a phrase"` and `+word` as required, `-word` and `-"a phrase"` as excluded. Every text is
            a valid query.
        :param highlights: Store the positions of the query's words in the content in `meta["highlights"]`, as a list of
            `[start, end]` (end exclusive).
        :param scale_score: Scale the scores to between 0 and 1, as Haystack's InMemoryDocumentStore does (see `scaling`).
        :returns: New documents without embeddings, best first; equal scores are ordered by id.
        :raises InvalidValueError: If the query is empty or `top_k` is less than 1.
        """
        check_count("top_k", top_k)
        check_query(query)
        with self._session.reading() as handle:
            keywords = self._session.keywords(handle)
            wanted = parse_operators(query) if operators else KeywordQuery(query)
            documents = retrieve(handle.database, keywords, handle.filters, wanted, filters, top_k)
            if scale_score:
                documents = scaled(documents, BM25)
            if not highlights:
                return documents
            find_spans = span_finder(wanted.analyzed(keywords.analysis).scored, keywords.analysis.text)
            return [_highlighted(document, find_spans(document.content or "")) for document in documents]

    def embedding_retrieval(
        self,
        query_embedding: Sequence[float],
        *,
        filters: Filters | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """
        Return the documents with the most similar embeddings.

        :param query_embedding: The embedding of the query.
        :param filters: Only matching documents are returned.
        :param top_k: Number of documents; fewer only if fewer match the filters and have an embedding.
        :param scale_score: Scale the scores to between 0 and 1, as Haystack's InMemoryDocumentStore does (see `scaling`).
        :param return_embedding: Whether to return the documents with their embeddings.
        :returns: New documents, best first; equal scores are ordered by id. The score is the cosine, the dot product, or
            1 / (1 + squared distance) with similarity `l2`.
        :raises InvalidValueError: If the embedding differs in length from those in the index or contains NaN or infinity,
            or `top_k` is less than 1.
        """
        check_count("top_k", top_k)
        vector = check_vector(query_embedding, "the query embedding")
        with self._session.reading() as handle:
            embedding_dim = handle.database.settings.embedding_dim
            if embedding_dim is not None:
                check_dimension(vector.size, embedding_dim, "the query embedding")
            vectors = self._session.vectors(handle)
            documents = retrieve(
                handle.database, vectors, handle.filters, vector, filters, top_k, embeddings=return_embedding
            )
            return scaled(documents, handle.settings.similarity or "") if scale_score else documents

    # The same methods for callers in an event loop.
    count_documents_async = in_thread(count_documents)
    filter_documents_async = in_thread(filter_documents)
    sample_documents_async = in_thread(sample_documents)
    write_documents_async = in_thread(write_documents)
    delete_documents_async = in_thread(delete_documents)
    delete_all_documents_async = in_thread(delete_all_documents)
    delete_by_filter_async = in_thread(delete_by_filter)
    update_by_filter_async = in_thread(update_by_filter)
    count_documents_by_filter_async = in_thread(count_documents_by_filter)
    bm25_retrieval_async = in_thread(bm25_retrieval)
    embedding_retrieval_async = in_thread(embedding_retrieval)

    def _metas(self, filters: Filters | None) -> list[dict[str, Any]]:
        with self._session.reading() as handle, handle.database.snapshot():
            return list(handle.database.documents.metas(_rows(handle, filters)))


def _rows(handle: Handle, filters: Filters | None) -> list[int] | None:
    """Return the matching rows, None for all."""
    return None if filters is None or filters == {} else handle.database.documents.matching(RowFilter(filters)).tolist()


def _search_fields(handle: Handle) -> SearchFields:
    return handle.settings.search_fields or SearchFields()


def _refuse_empty(filters: Filters, remedy: str) -> None:
    if filters is None or filters == {}:
        raise FilterError(f"the filters are empty: {remedy}")


def _highlighted(document: Document, spans: list[Span]) -> Document:
    return replace(document, meta={**document.meta, "highlights": [list(span) for span in spans]})


def _merged(document: Document, meta: dict[str, Any]) -> Document:
    return replace(document, meta={**document.meta, **meta})
