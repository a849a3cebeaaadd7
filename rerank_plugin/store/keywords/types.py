"""What a keyword index is built with, and what it offers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store.derived import DerivedIndex
from rerank_plugin.store.keywords.analysis import Analyzer
from rerank_plugin.store.keywords.fields import SearchFields


class KeywordIndex(DerivedIndex, Protocol):
    """A derived index that is asked with a text."""

    # Whether the index stays on disk, so that it is worth completing before a store is closed.
    persistent: bool
    # From text to the terms that are searched for.
    analyze: Analyzer


@dataclass(frozen=True)
class BM25Parameters:
    """
    The two parameters of BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009).

    :param k1: How much a second and third occurrence of a word still adds; 0: nothing.
    :param b: How much long documents are held back, from 0 (not at all) to 1 (in proportion to their length).
    """

    k1: float = 1.2
    b: float = 0.75

    @classmethod
    def of(cls, given: Any) -> "BM25Parameters":
        """
        Check what a user chose.

        :param given: A dictionary with `k1`, `b` or both; None for the usual ones.
        :raises InvalidValueError: If it is none, or a value is out of range.
        """
        if given is None:
            return cls()
        if not isinstance(given, Mapping) or not set(given) <= {"k1", "b"}:
            raise InvalidValueError(f"bm25_parameters must be a dictionary with k1, b or both, got {given!r}")
        for name, value in given.items():
            most = 1.0 if name == "b" else 100.0
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
                raise InvalidValueError(f"bm25_parameters: {name} must be a number from 0 to {most:g}, got {value!r}")
        return cls(**given)

    def check_engine(self, engine: str | None) -> None:
        """
        Check that an engine can compute with these parameters.

        :param engine: Name of the engine; None if it is not known yet.
        :raises InvalidValueError: If the engine is tantivy and the parameters are not the usual ones.
        """
        if engine == "tantivy" and self != BM25Parameters():
            raise InvalidValueError(
                "bm25_parameters: keyword engine 'tantivy' computes with k1 1.2 and b 0.75 and cannot change that: leave "
                "bm25_parameters out, or choose keyword_engine 'rank_bm25'"
            )


@dataclass(frozen=True)
class KeywordSettings:
    """
    What a keyword index is built and asked with.

    :param engine: `tantivy` or `rank_bm25`.
    :param language: A key of `analysis.STEMMERS`, or `simple`.
    :param stop_words: Whether to leave stop words out.
    :param search_fields: What is searched; read by the database, and here so that another choice is another index.
    :param bm25: The parameters of BM25.
    """

    engine: str
    language: str
    stop_words: bool
    search_fields: SearchFields
    bm25: BM25Parameters
