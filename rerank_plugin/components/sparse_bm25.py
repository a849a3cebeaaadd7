"""
BM25 as sparse embeddings: keyword search in a vector database that weighs by the inverse document frequency, such as Qdrant.

A document's value for a term is the part of BM25 that depends on this document alone; a query's value is how often it has
the term. Their product, times the inverse document frequency that the database knows, is the BM25 score.
"""

import hashlib
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

from haystack import Document, component, default_to_dict
from haystack.dataclasses import SparseEmbedding

from rerank_plugin.checks import check_choice, check_number, check_text, shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.keywords.analysis import SIMPLE, STEMMERS, Analyzer, make_analysis, make_analyzer
from rerank_plugin.store.keywords.fields import SearchFields
from rerank_plugin.store.keywords.types import BM25Parameters

# What databases take as the number of a dimension: an unsigned integer of 32 bits.
_DIMENSION_BYTES = 4


@component
class BM25SparseDocumentEmbedder:
    """
    Gives documents a sparse embedding of their words, for keyword search in a vector database.

    Words are analysed as in a `HybridDocumentStore`: Snowball stems, hyphenated compounds, pairs of letters for Chinese,
    Japanese and Korean. No model is needed. `pipelines/indexing_qdrant.yaml` uses it.

    :param language: Language of the texts, as in `HybridDocumentStore`; the same as in `BM25SparseTextEmbedder`.
    :param search_fields: The fields whose words count, with weights, as in `HybridDocumentStore`. `None`: title and content.
    :param average_length: Number of words of an average document, to which lengths are compared. A database does not tell.
    :param bm25_parameters: `{"k1": 1.2, "b": 0.75}` or other values.
    :raises InvalidValueError: If a value is out of range.
    """

    def __init__(
        self,
        language: str = "en",
        *,
        search_fields: dict[str, int] | None = None,
        average_length: float = 110.0,
        bm25_parameters: dict[str, float] | None = None,
    ) -> None:
        self.language = _checked(language)
        self.search_fields = search_fields
        self.average_length = check_number("average_length", average_length, above=0)
        self.bm25_parameters = bm25_parameters
        self._fields = SearchFields() if search_fields is None else SearchFields.of(search_fields)
        self._bm25 = BM25Parameters.of(bm25_parameters)
        self._analyze: Analyzer | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, for a pipeline's YAML."""
        return default_to_dict(
            self,
            language=self.language,
            search_fields=self.search_fields,
            average_length=self.average_length,
            bm25_parameters=self.bm25_parameters,
        )

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, list[Document]]:
        """
        Embed documents.

        :param documents: The documents; they are not changed.
        :returns: `documents`: new documents with `sparse_embedding`, in the same order.
        :raises InvalidValueError: If they are not Documents.
        """
        if not isinstance(documents, list) or not all(isinstance(document, Document) for document in documents):
            raise InvalidValueError(f"documents must be a list of Documents, got {shown(documents)}")
        if self._analyze is None:
            self._analyze = make_analyzer(self.language, stop_words=False)
        return {"documents": [replace(document, sparse_embedding=self._embedding(document)) for document in documents]}

    def _embedding(self, document: Document) -> SparseEmbedding:
        assert self._analyze is not None
        terms = self._analyze(self._fields.text(document.meta, document.content))
        k1, b = self._bm25.k1, self._bm25.b
        length = k1 * (1 - b + b * len(terms) / self.average_length)
        return _sparse({term: count * (k1 + 1) / (count + length) for term, count in Counter(terms).items()})


@component
class BM25SparseTextEmbedder:
    """
    Turns a query into a sparse embedding that matches those of `BM25SparseDocumentEmbedder`.

    English and Russian function words are left out, unless the query has no other words.

    :param language: Language of the texts; the same as when they were indexed.
    :raises InvalidValueError: If there is no stemmer for the language.
    """

    def __init__(self, language: str = "en") -> None:
        self.language = _checked(language)
        self._analyze: Analyzer | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the component as a dictionary, for a pipeline's YAML."""
        return default_to_dict(self, language=self.language)

    @component.output_types(sparse_embedding=SparseEmbedding)
    def run(self, text: str) -> dict[str, SparseEmbedding]:
        """
        Embed a query.

        :param text: Any text.
        :returns: `sparse_embedding`: the number of occurrences of each term.
        :raises InvalidValueError: If it is not a string.
        """
        check_text("text", text)
        if self._analyze is None:
            self._analyze = make_analysis(self.language, stop_words=False).query
        return {"sparse_embedding": _sparse(Counter(self._analyze(text)))}


def _checked(language: str) -> str:
    check_choice("language", language, [*STEMMERS, SIMPLE])
    return language


def _sparse(values: dict[str, float] | Counter[str]) -> SparseEmbedding:
    """Return values by term as values by dimension, in ascending order; terms that share a dimension are added up."""
    dimensions: dict[int, float] = {}
    for term, value in values.items():
        dimension = _dimension(term)
        dimensions[dimension] = dimensions.get(dimension, 0.0) + float(value)
    ordered = sorted(dimensions.items())
    return SparseEmbedding(indices=[index for index, _ in ordered], values=[value for _, value in ordered])


@lru_cache(maxsize=100_000)
def _dimension(term: str) -> int:
    """Return the dimension of a term: the same in every process and version."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=_DIMENSION_BYTES).digest(), "big")
