"""Translates keyword queries for tantivy and computes the best documents."""

import json
import math
from collections import Counter
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import tantivy

from rerank_plugin.store.derived import Hit, Rows
from rerank_plugin.store.keywords.frequent import FrequentTerms
from rerank_plugin.store.keywords.query import TermQuery
from rerank_plugin.store.keywords.types import BM25Parameters

TEXT, ROW, LENGTH = "text", "row", "length"

# Up to this many hits, a filter is applied to the hits of an unfiltered search. With a more selective filter tantivy looks
# up the allowed rows, which takes longer the more there are.
_MAX_POST_FILTERED = 10_000
# Terms in at least this share of the documents are left out at first, the most frequent first, as long as together they can
# add no more than this to a score: the more they can add, the more documents must be considered.
_MIN_SHARE = 0.1
_MAX_ADDED = 2.5
# Candidates per requested hit, increased until it is certain that no better document is missing.
_FACTORS = (4, 16, 64)
# For more hits than this, visiting every document is cheaper than fetching several times as many candidates.
_MAX_TWO_STEP_HITS = 1_000


class TantivySearch:
    """Searches one commit of the index."""

    def __init__(self, schema: tantivy.Schema, searcher: tantivy.Searcher, frequent: FrequentTerms) -> None:
        """
        Wrap a searcher.

        :param schema: The schema of the index.
        :param searcher: Its searcher.
        :param frequent: The terms whose frequencies are stored in columns.
        """
        self._schema = schema
        self._searcher = searcher
        self._frequent = frequent
        self.count: int = searcher.num_docs

    def best(self, query: TermQuery, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows that contain a term of the query.

        :param query: The query.
        :param limit: Maximum number of hits; fewer are returned only if no more rows match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first.
        """
        if allowed is None:
            return self._best(query, limit)
        needed = int(1.5 * limit * self.count / max(allowed.size, 1)) + 50
        if needed <= _MAX_POST_FILTERED:
            hits = self._best(query, needed)
            rows = np.fromiter((hit.row for hit in hits), dtype=np.int64, count=len(hits))
            kept = [hits[i] for i in np.flatnonzero(np.isin(rows, allowed))]
            if len(kept) >= limit or len(hits) < needed:
                return kept[:limit]
        is_allowed = tantivy.Query.const_score_query(rows_query(self._schema, allowed.tolist()), 0.0)
        clauses = [(tantivy.Occur.Must, self._translated(query)), (tantivy.Occur.Must, is_allowed)]
        return self._hits(*self._top(tantivy.Query.boolean_query(clauses), limit))

    def _best(self, query: TermQuery, limit: int) -> list[Hit]:
        left_out = self._left_out(query.scored) if limit <= _MAX_TWO_STEP_HITS else {}
        if left_out:
            hits = self._best_in_two_steps(query, left_out, limit)
            if hits is not None:
                return hits
        return self._hits(*self._top(self._translated(query), limit))

    def _left_out(self, scored: Counter[str]) -> dict[str, float]:
        """Return the terms to leave out of the first step, with the maximum that each can add to a score."""
        weights: list[tuple[float, str]] = []
        for term, times in scored.items():
            if term in self._frequent.columns and self._statistics:
                doc_freq = self._searcher.doc_freq(TEXT, term)
                if doc_freq >= _MIN_SHARE * self.count:
                    idf = math.log(1 + (self._total - doc_freq + 0.5) / (doc_freq + 0.5))
                    weights.append((times * idf * (self._bm25.k1 + 1), term))
        chosen: dict[str, float] = {}
        for weight, term in sorted(weights):
            if sum(chosen.values()) + weight > _MAX_ADDED:
                break
            chosen[term] = weight
        return chosen if len(chosen) < len(scored) else {}

    def _best_in_two_steps(self, query: TermQuery, left_out: dict[str, float], limit: int) -> list[Hit] | None:
        """Return the best hits; None if they cannot be determined without visiting all documents."""
        others = Counter({term: times for term, times in query.scored.items() if term not in left_out})
        first_step = self._translated(replace(query, scored=others))
        most_added = sum(left_out.values())
        for factor in _FACTORS:
            scores, addresses = self._top(first_step, limit * factor)
            totals = scores + self._added(left_out, addresses)
            best = np.argsort(-totals, kind="stable")[:limit]
            is_all = len(addresses) < min(limit * factor, self.count)
            ceiling = most_added + (0.0 if is_all else scores[-1])
            if best.size == limit and totals[best[-1]] > ceiling:
                return self._hits(totals[best], [addresses[i] for i in best.tolist()])
            if is_all:
                break
        return None

    def _added(self, weights: dict[str, float], addresses: list[tantivy.DocAddress]) -> npt.NDArray[np.float64]:
        """Return the contribution of terms to the BM25 scores of documents."""
        norm = self._bm25.k1 * (1 - self._bm25.b + self._bm25.b * self._column(LENGTH, addresses) / self._mean_length)
        added = np.zeros(len(addresses))
        for term, weight in weights.items():
            frequency = self._column(column_name(self._frequent.columns[term]), addresses)
            added += weight * frequency / (frequency + norm)
        return added

    def _column(self, name: str, addresses: list[tantivy.DocAddress]) -> npt.NDArray[np.float64]:
        values = self._searcher.fast_field_values(name, addresses)
        return np.nan_to_num(np.array(values, dtype=np.float64))  # None, which is 0 here, becomes NaN

    _bm25 = BM25Parameters()

    @cached_property
    def _statistics(self) -> dict[str, float]:
        """
        The collection statistics that tantivy uses: number of documents (N) and mean length (avgdl).

        Read from its explanation of one score, because they include deleted documents until segments are merged. Empty if
        a later tantivy explains scores differently.
        """
        term = next((term for term in self._frequent.columns if self._searcher.doc_freq(TEXT, term)), None)
        if term is None:
            return {}
        query = tantivy.Query.term_query(self._schema, TEXT, term, "freq")
        (_, address), *_ = self._searcher.search(query, limit=1, count=False).hits
        values: dict[str, float] = {}
        pending = [json.loads(query.explain(self._searcher, address).to_json())]
        while pending:
            node = pending.pop()
            values[node["description"].partition(",")[0]] = node["value"]
            pending += node.get("details") or []
        return values if {"N", "avgdl"} <= values.keys() else {}

    @property
    def _mean_length(self) -> float:
        return self._statistics["avgdl"]

    @property
    def _total(self) -> float:
        return self._statistics["N"]

    def _translated(self, query: TermQuery) -> tantivy.Query:
        any_term = _any_of(self._schema, query.scored)
        if not query.required and not query.excluded:
            return any_term
        clauses = [(tantivy.Occur.Must, any_term)]
        # With a score of 0, as their words are already scored in `any_term`, as in a query without operators.
        clauses += [
            (tantivy.Occur.Must, tantivy.Query.const_score_query(_phrase(self._schema, terms), 0.0))
            for terms in query.required
        ]
        clauses += [(tantivy.Occur.MustNot, _phrase(self._schema, terms)) for terms in query.excluded]
        return tantivy.Query.boolean_query(clauses)

    def _top(self, query: tantivy.Query, limit: int) -> tuple[npt.NDArray[np.float64], list[tantivy.DocAddress]]:
        """Return scores and addresses of the best documents, best first."""
        hits = self._searcher.search(query, limit=min(limit, max(self.count, 1)), count=False).hits
        scores = np.fromiter((score for score, _ in hits), dtype=np.float64, count=len(hits))
        return scores, [address for _, address in hits]

    def _hits(self, scores: npt.NDArray[np.float64], addresses: list[tantivy.DocAddress]) -> list[Hit]:
        rows = self._searcher.fast_field_values(ROW, addresses)
        return [Hit(int(row or 0), score) for score, row in zip(scores.tolist(), rows, strict=True)]


def column_name(number: int) -> str:
    """
    Return the name of the column that holds the frequencies of a term.

    :param number: Number of the column.
    """
    return f"frequency{number}"


def rows_query(schema: tantivy.Schema, rows: list[int]) -> tantivy.Query:
    """
    Return a query for documents by their rows.

    :param schema: The schema of the index.
    :param rows: The rows.
    """
    return tantivy.Query.term_set_query(schema, ROW, rows)


def _any_of(schema: tantivy.Schema, terms: Counter[str]) -> tantivy.Query:
    clauses = []
    for term, count in terms.items():
        query = tantivy.Query.term_query(schema, TEXT, term, "freq")
        clauses.append((tantivy.Occur.Should, query if count == 1 else tantivy.Query.boost_query(query, float(count))))
    return tantivy.Query.boolean_query(clauses)


def _phrase(schema: tantivy.Schema, terms: list[str]) -> tantivy.Query:
    if len(terms) == 1:
        return tantivy.Query.term_query(schema, TEXT, terms[0], "freq")
    return tantivy.Query.phrase_query(schema, TEXT, list(terms))
