"""Keyword search with rank-bm25: pure Python, in memory, rebuilt after every change. The reference in the tests."""

import math
from typing import Any

import numpy as np

from rerank_plugin.store.derived import Hit, Rows
from rerank_plugin.store.keywords.analysis import make_analysis
from rerank_plugin.store.keywords.query import KeywordQuery, TermQuery
from rerank_plugin.store.keywords.types import BM25Parameters, KeywordSettings
from rerank_plugin.store.sqlite.database import Database


class RankBM25Index:
    """BM25 (Okapi) over all texts of the database."""

    persistent = False

    def __init__(self, settings: KeywordSettings) -> None:
        """
        Create an empty index.

        :param settings: Analysis and BM25 parameters.
        """
        self._bm25_parameters = settings.bm25
        self.analysis = make_analysis(settings.language, stop_words=settings.stop_words)
        self.reset()

    def reset(self) -> None:
        """Discard the index; the next `sync` rebuilds it."""
        self._counter = 0
        self._rows: Rows = np.empty(0, dtype=np.int64)
        self._corpus: list[list[str]] = []
        self._bm25: Any = None

    def sync(self, database: Database) -> None:
        """
        Rebuild the index if anything has changed since the last call.

        :param database: The source-of-truth database.
        """
        if database.changes.counter == self._counter:
            return
        with database.snapshot():
            counter, texts = database.changes.counter, list(database.documents.texts(0))
        self._rows = np.array([row for row, _ in texts], dtype=np.int64)
        self._corpus = corpus = [self.analysis.text(text) for _, text in texts]
        # rank-bm25 divides by the mean document length, which must not be 0.
        self._bm25 = _okapi(corpus, self._bm25_parameters) if any(corpus) else None
        self._counter = counter

    def search(self, query: KeywordQuery, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows that contain a word of the query.

        :param query: The query.
        :param limit: Maximum number of hits; fewer are returned only if no more rows match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first.
        """
        terms = query.analyzed(self.analysis)
        if self._bm25 is None or not terms.scored:
            return []
        positions = np.arange(self._rows.size) if allowed is None else np.flatnonzero(np.isin(self._rows, allowed))
        if terms.required or terms.excluded:
            matches = (self._matches(position, terms) for position in positions.tolist())
            positions = positions[np.fromiter(matches, dtype=bool, count=positions.size)]
        scores = np.zeros(positions.size)
        for term, times in terms.scored.items():
            if term in self._bm25.idf:
                scores += times * np.array(self._bm25.get_batch_scores([term], positions.tolist()))
        best = np.argsort(-scores, kind="stable")[:limit]
        # Every idf is positive (see `_okapi`), so a score of 0 means that no word of the query occurs.
        return [Hit(int(self._rows[positions[i]]), float(scores[i])) for i in best if scores[i] > 0]

    def _matches(self, position: int, query: TermQuery) -> bool:
        terms = self._corpus[position]
        required = all(_occurs(phrase, terms) for phrase in query.required)
        return required and not any(_occurs(phrase, terms) for phrase in query.excluded)


def _occurs(phrase: list[str], terms: list[str]) -> bool:
    return any(terms[i : i + len(phrase)] == phrase for i in range(len(terms) - len(phrase) + 1))


def _okapi(corpus: list[list[str]], parameters: BM25Parameters) -> Any:
    """Return rank-bm25's Okapi with the idf of Lucene and tantivy."""
    from rank_bm25 import BM25Okapi

    class Okapi(BM25Okapi):  # type: ignore[misc]
        def _calc_idf(self, nd: dict[str, int]) -> None:
            # The library's idf is zero or negative for words in at least half of the documents: in a tiny collection, for
            # almost every word. This idf is always positive.
            size = self.corpus_size
            self.idf = {word: math.log(1 + (size - count + 0.5) / (count + 0.5)) for word, count in nd.items()}

    return Okapi(corpus, k1=parameters.k1, b=parameters.b)
