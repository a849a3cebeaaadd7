"""HybridDocumentStore: the Haystack face of an index."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from haystack import default_from_dict, default_to_dict
from haystack.dataclasses import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.filtering.filters import RowFilter
from rerank_plugin.store.filtering.metadata_queries import MetadataQueries
from rerank_plugin.store.handles import DATABASE, Handle
from rerank_plugin.store.in_thread import in_thread
from rerank_plugin.store.indexed_files import IndexedFiles
from rerank_plugin.store.keywords.choice import BM25Parameters
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.keywords.highlights import Span, find_spans
from rerank_plugin.store.keywords.query import KeywordQuery, parse_operators
from rerank_plugin.store.maintenance import backup, compact
from rerank_plugin.store.retrieval import check_top_k, retrieve
from rerank_plugin.store.session import Session
from rerank_plugin.store.settings import Settings, check_vector_index
from rerank_plugin.store.sqlite.records import check_dimension, check_documents, check_vector, encode, encode_meta
from rerank_plugin.store.writing import Batch

Filters = dict[str, Any]


class HybridDocumentStore(MetadataQueries):
    """
    Documents, a keyword index and a vector index in one folder, or in memory.

    SQLite holds the documents; a write is on the disk when `write_documents` returns. FAISS (vectors) and tantivy or
    rank-bm25 (keywords) are derived from it, and are caught up before a search. Filters are exact and come before the
    search. Several stores, threads and processes may use one folder at a time; writers wait for each other.

    Every method that reads or writes documents has an async twin, with `_async` behind its name.

    Meta is kept as JSON: tuples come back as lists. Embeddings come back as they were given, whatever the similarity.

    :param path: Folder of the index; made by the first write. Reading a folder that does not exist shows no documents.
        `None`: in memory.
    :param embedding_dim: Length of the vectors. `None`: that of the first vector written.
    :param similarity: `cosine`, `dot_product` or `l2`. `None`: as the index says, `cosine` for a new one.
    :param vector_index: `flat` compares every vector. `hnsw` and `ivf` look at likely ones, with `_sq8` at a quarter of the
        memory; the scores are exact all the same. `auto`: flat up to 100,000 vectors, `ivf_sq8` beyond.
    :param keyword_engine: `tantivy` (incremental, on disk) or `rank_bm25` (plain Python, in memory). `None`: as the
        index says, `tantivy` for a new one.
    :param language: Language of the texts, for stemming: `en`, `ru`, `de` or another with a Snowball stemmer
        (`analysis.STEMMERS`), or `simple` for none. `None`: as the index says, `en` for a new one.
    :param search_fields: What keyword search looks at, with weights: `{"title": 3, "authors": 2, "content": 1}`. A word in a
        field of weight 3 counts as three (BM25F). `None`: as the index says, `{"title": 1, "content": 1}` for a new one.
    :param bm25_parameters: `{"k1": 1.2, "b": 0.75}` or other values; only the engine `rank_bm25` can compute with others.
    :param stop_words: Leave function words out of the keyword index; only `en` and `ru` have them. `None`: as the index
        says, `False` for a new one.
    :raises InvalidValueError: If a value is none of these. If an existing index was built with another `embedding_dim`,
        `similarity`, `language`, `stop_words` or `search_fields` than was asked for, its first use raises StoreError.
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
        """Return the store as a dictionary, as a pipeline's YAML keeps it."""
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
            return handle.database.count()

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """
        Return the documents that match, with their embeddings, in the order in which they were first written.

        :param filters: Haystack filters; `None` or empty for all documents.
        :raises FilterError: If the filters are malformed, or compare what cannot be compared.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            return [document for _, document in handle.database.documents(_rows(handle, filters))]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """
        Write documents: all of them or, if one is refused, none.

        :param documents: The documents; those without content or without embedding are fine.
        :param policy: What to do with a document whose id exists. `NONE` is `FAIL`.
        :returns: How many were written; with `OVERWRITE` always the number of documents given.
        :raises InvalidValueError: If they are no Documents, an embedding has another length than those in the index or
            holds NaN or infinity, or meta is no JSON.
        :raises DuplicateDocumentError: If an id exists and the policy is `FAIL`.
        """
        batch = check_documents(documents)
        checked = Batch(batch, policy, self.embedding_dim)
        if not batch:
            return 0
        with self._session.writing(create=True) as handle:
            return checked.store(handle.database)

    def delete_documents(self, document_ids: list[str]) -> None:
        """
        Delete documents; ids that do not exist are passed over.

        :param document_ids: Their ids.
        :raises InvalidValueError: If it is a text: a single id belongs into a list, too.
        """
        if isinstance(document_ids, str):
            raise InvalidValueError(f"document_ids must be a list of ids, got the text {document_ids!r}")
        with self._session.writing() as handle:
            handle.database.delete(list(handle.database.rows_of(list(document_ids)).values()))

    def delete_all_documents(self) -> None:
        """Delete every document. The next embedding may have another length, unless `embedding_dim` was given."""
        with self._session.writing() as handle:
            handle.database.delete_all(self.embedding_dim)

    def delete_by_filter(self, filters: Filters) -> int:
        """
        Delete the documents that match.

        :param filters: Haystack filters.
        :returns: How many were deleted.
        :raises FilterError: If the filters are malformed or empty.
        """
        _refuse_empty(filters, "delete_all_documents() deletes every document")
        with self._session.writing() as handle:
            rows = _rows(handle, filters) or []
            handle.database.delete(rows)
            return len(rows)

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """
        Merge values into the meta of the documents that match.

        :param filters: Haystack filters.
        :param meta: The values; fields that are not named stay as they are.
        :returns: How many documents were changed.
        :raises FilterError: If the filters are malformed or empty.
        :raises InvalidValueError: If meta is no JSON.
        """
        _refuse_empty(filters, "name the documents to change")
        encode_meta(meta, "(all that match)")
        with self._session.writing() as handle:
            found = list(handle.database.documents(_rows(handle, filters), embeddings=False))
            fields = handle.settings.search_fields or SearchFields()
            changed = [(row, encode(_merged(document, meta), fields)) for row, document in found]
            if changed:
                handle.database.update_meta(changed)
            return len(changed)

    def count_documents_by_filter(self, filters: Filters) -> int:
        """
        Return how many documents match.

        :param filters: Haystack filters; empty for all documents.
        """
        with self._session.reading() as handle, handle.database.snapshot():
            rows = _rows(handle, filters)
            return handle.database.count() if rows is None else len(rows)

    def bm25_retrieval(
        self,
        query: str,
        *,
        filters: Filters | None = None,
        top_k: int = 10,
        operators: bool = False,
        highlights: bool = False,
    ) -> list[Document]:
        """
        Return the documents that suit the words of a query best, by BM25 over the `search_fields`: title and content.

        :param query: Any text; no character in it has a special meaning, unless `operators` is set.
        :param filters: Only documents that match come back.
        :param top_k: How many; as many come back if so many match and hold a word of the query.
        :param operators: Read `"a phrase"` and `+word` as required, `-word` and `-"a phrase"` as excluded. No text is an
            error.
        :param highlights: Write into `meta["highlights"]` where the words of the query stand in the content, as a list of
            `[first position, position after the last]`.
        :returns: New documents without embeddings, best first, equal scores by id.
        :raises InvalidValueError: If the query is empty or `top_k` is less than 1.
        """
        check_top_k(top_k)
        if not isinstance(query, str) or not query.strip():
            raise InvalidValueError(f"the query is empty or no text ({query!r}): keyword search needs at least one word")
        with self._session.reading() as handle:
            keywords = self._session.keywords(handle)
            wanted = parse_operators(query) if operators else KeywordQuery(query)
            documents = retrieve(handle.database, keywords, handle.filters, wanted, filters, top_k)
            if not highlights:
                return documents
            terms = wanted.analyzed(keywords.analyze).scored
            return [
                _highlighted(document, find_spans(document.content or "", terms, keywords.analyze)) for document in documents
            ]

    def embedding_retrieval(
        self, query_embedding: Sequence[float], *, filters: Filters | None = None, top_k: int = 10
    ) -> list[Document]:
        """
        Return the documents with the most similar embeddings.

        :param query_embedding: The embedding of the query.
        :param filters: Only documents that match come back.
        :param top_k: How many; as many come back if so many match and have an embedding.
        :returns: New documents without embeddings, best first, equal scores by id. The score is the cosine, the dot
            product, or 1 / (1 + squared distance) with similarity `l2`.
        :raises InvalidValueError: If the embedding has another length than those in the index or holds NaN or infinity,
            or `top_k` is less than 1.
        """
        check_top_k(top_k)
        vector = check_vector(query_embedding, "the query embedding")
        with self._session.reading() as handle:
            embedding_dim = handle.database.setting("embedding_dim")
            if embedding_dim is not None:
                check_dimension(vector.size, embedding_dim, "the query embedding")
            return retrieve(handle.database, self._session.vectors(handle), handle.filters, vector, filters, top_k)

    def warm_up(self, *, keywords: bool = True, vectors: bool = True) -> None:
        """
        Catch the derived indexes up now rather than at the first query; cheap if nothing was written since.

        :param keywords: Whether keyword search will be used.
        :param vectors: Whether vector search will be used.
        """
        with self._session.reading() as handle:
            if keywords:
                self._session.keywords(handle).sync(handle.database)
            if vectors:
                self._session.vectors(handle).sync(handle.database)

    def settings(self) -> dict[str, Any]:
        """Return what the index is set to, by the names of this class's parameters."""
        with self._session.reading() as handle:
            found = handle.database.settings()
            return {**asdict(found), "search_fields": found.search_fields and dict(found.search_fields.weights)}

    def revision(self) -> str:
        """Return a text that is another one after every change of the documents, and in every other index."""
        with self._session.reading() as handle:
            return f"{handle.database.setting('index_id')}:{handle.database.counter}"

    def describe_vectors(self) -> dict[str, Any]:
        """
        Say how vectors are searched.

        :returns: `kind` of the vector index and the `reason` for it, number of `vectors`, and how many of them are in the
            `trained` index (the rest is compared one by one until there are enough of them).
        """
        with self._session.reading() as handle:
            vectors = self._session.vectors(handle)
            vectors.sync(handle.database)
            return vectors.describe()

    def recall(self, top_k: int = 10, queries: int = 100) -> float | None:
        """
        Measure how many of the truly nearest vectors a search finds, for a sample of the stored vectors.

        :param top_k: Hits that are compared.
        :param queries: Size of the sample.
        :returns: A share from 0 to 1, 1 for an exact index; None if there are no vectors.
        :raises InvalidValueError: If `top_k` is less than 1.
        """
        check_top_k(top_k)
        with self._session.reading() as handle:
            vectors = self._session.vectors(handle)
            vectors.sync(handle.database)
            with handle.database.snapshot():
                return vectors.recall(top_k, queries)

    def backup(self, path: str | Path) -> None:
        """
        Copy the index into another folder, as it is at this moment; others may go on reading and writing.

        The copy holds the documents and settings. Its keyword and vector index are built when it is first searched.

        :param path: A folder that does not exist, or is empty.
        :raises StoreError: If the folder holds something, or cannot be written.
        """
        with self._session.reading() as handle:
            backup(handle.database, Path(path).expanduser(), DATABASE)

    def compact(self) -> None:
        """
        Give the room of deleted and replaced documents back to the disk; all documents stay.

        It rewrites the whole index: for after large deletions, not for after every write. Needs as much free disk as the
        index takes.
        """
        with self._session.reading() as handle:
            vectors = self._session.vectors(handle)
            compact(handle.database, [self._session.keywords(handle), vectors])

    @property
    def indexed_files(self) -> IndexedFiles:
        """Which files `rerank index` has read into this store, and how far."""
        return IndexedFiles(self._session)

    def close(self) -> None:
        """
        Complete the keyword index on disk and close the files. Closing twice is fine; a later call opens them again.

        An index in memory keeps its documents as long as the store exists.
        """
        self._session.close()

    # The same methods for callers in an event loop.
    count_documents_async = in_thread(count_documents)
    filter_documents_async = in_thread(filter_documents)
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
            return list(handle.database.metas(_rows(handle, filters)))


def _rows(handle: Handle, filters: Filters | None) -> list[int] | None:
    """Return the rows that match, None for all."""
    return handle.database.matching(RowFilter(filters)).tolist() if filters else None


def _refuse_empty(filters: Filters, remedy: str) -> None:
    if not filters:
        raise FilterError(f"the filters are empty: {remedy}")


def _highlighted(document: Document, spans: list[Span]) -> Document:
    return replace(document, meta={**document.meta, "highlights": [list(span) for span in spans]})


def _merged(document: Document, meta: dict[str, Any]) -> Document:
    return Document(id=document.id, content=document.content, meta={**document.meta, **meta})
