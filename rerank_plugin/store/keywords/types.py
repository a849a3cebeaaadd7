"""The settings and the interface of a keyword index."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rerank_plugin.checks import shown
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.derived import DerivedIndex
from rerank_plugin.store.keywords.analysis import Analysis
from rerank_plugin.store.keywords.fields import SearchFields


class KeywordIndex(DerivedIndex, Protocol):
    """A derived index that is searched with keyword queries."""

    # Whether the index is kept on disk, and therefore brought up to date before a store is closed.
    persistent: bool
    # Returns the terms of texts and of queries.
    analysis: Analysis


@dataclass(frozen=True)
class BM25Parameters:
    """
    The two parameters of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).

    :param k1: Term frequency saturation: how much repeated occurrences of a word add; 0: nothing.
    :param b: Length normalisation, from 0 (none) to 1 (in proportion to the length).
    """

    k1: float = 1.2
    b: float = 0.75

    @classmethod
    def of(cls, given: Any) -> "BM25Parameters":
        """
        Check the parameter `bm25_parameters`.

        :param given: A dictionary with `k1`, `b` or both; None for the defaults.
        :raises InvalidValueError: If it is not such a dictionary, or a value is out of range.
        """
        if given is None:
            return cls()
        if not isinstance(given, Mapping) or not set(given) <= {"k1", "b"}:
            raise InvalidValueError(f"bm25_parameters must be a dictionary with k1, b or both, got {shown(given)}")
        for name, value in given.items():
            most = 1.0 if name == "b" else 100.0
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
                raise InvalidValueError(f"bm25_parameters: {name} must be a number from 0 to {most:g}, got {shown(value)}")
        return cls(**given)

    def check_engine(self, engine: str | None) -> None:
        """
        Check that an engine supports these parameters.

        :param engine: Name of the engine; None if it is not known yet.
        :raises InvalidValueError: If the engine is tantivy and the parameters are not the defaults.
        """
        if engine == "tantivy" and self != BM25Parameters():
            raise InvalidValueError(
                "bm25_parameters: keyword engine 'tantivy' supports only k1 1.2 and b 0.75: omit bm25_parameters, or choose "
                "keyword_engine 'rank_bm25'"
            )


@dataclass(frozen=True)
class KeywordSettings:
    """
    The settings of a keyword index.

    :param engine: `tantivy` or `rank_bm25`.
    :param language: A key of `analysis.STEMMERS`, or `simple`.
    :param stop_words: Whether function words are left out of the index.
    :param search_fields: The indexed fields. The database reads them; here they distinguish one index from another.
    :param bm25: The parameters of BM25.
    """

    engine: str
    language: str
    stop_words: bool
    search_fields: SearchFields
    bm25: BM25Parameters
