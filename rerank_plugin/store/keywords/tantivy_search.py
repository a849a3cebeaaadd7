"""From a keyword query to a query of tantivy, and to the best documents."""

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

# A filter is applied to the best hits, if no more than these have to be looked at to find enough that it allows. With a
# narrower filter tantivy looks the allowed rows up, which takes longer the more there are.
_MOST_FILTERED = 10_000
# Words in at least this share of the documents are left out at first, the most frequent ones before others, as long as they
# can add no more than this to a score: the more they can add, the more documents have to be looked at.
_FREQUENT = 0.1
_MOST_ADDED = 2.5
# How many times the wanted hits are looked at, until it is certain that none is missing.
_FACTORS = (4, 16, 64)
# For more hits than these, looking at every document costs less than handing over several times as many candidates.
_MOST_IN_STEPS = 1_000


class TantivySearch:
    """One state of the index, that can be searched."""

    def __init__(self, schema: tantivy.Schema, searcher: tantivy.Searcher, frequent: FrequentTerms) -> None:
        """
        Wrap a searcher.

        :param schema: The schema of the index.
        :param searcher: What searches it.
        :param frequent: The terms whose frequencies stand beside the index.
        """
        self._schema = schema
        self._searcher = searcher
        self._frequent = frequent
        self.count: int = searcher.num_docs

    def best(self, query: TermQuery, limit: int, allowed: Rows | None) -> list[Hit]:
        """
        Return the rows that hold a term of the query.

        :param query: The query.
        :param limit: How many; fewer come back only if no more match.
        :param allowed: The rows that may be returned; None for all.
        :returns: Hits, best first.
        """
        if allowed is None:
            return self._best(query, limit)
        wanted = int(1.5 * limit * self.count / max(allowed.size, 1)) + 50
        if wanted <= _MOST_FILTERED:
            hits = self._best(query, wanted)
            rows = np.fromiter((hit.row for hit in hits), dtype=np.int64, count=len(hits))
            kept = [hits[i] for i in np.flatnonzero(np.isin(rows, allowed))]
            if len(kept) >= limit or len(hits) < wanted:
                return kept[:limit]
        among = tantivy.Query.const_score_query(rows_query(self._schema, allowed.tolist()), 0.0)
        both = [(tantivy.Occur.Must, self._translated(query)), (tantivy.Occur.Must, among)]
        return self._hits(*self._top(tantivy.Query.boolean_query(both), limit))

    def _best(self, query: TermQuery, limit: int) -> list[Hit]:
        left_out = self._left_out(query.scored) if limit <= _MOST_IN_STEPS else {}
        if left_out:
            hits = self._best_in_two_steps(query, left_out, limit)
            if hits is not None:
                return hits
        return self._hits(*self._top(self._translated(query), limit))

    def _left_out(self, scored: Counter[str]) -> dict[str, float]:
        """Return the terms whose scores are added afterwards, and the weight of each; the rest must find the documents."""
        weights: list[tuple[float, str]] = []
        for term, times in scored.items():
            if term in self._frequent.columns and self._statistics:
                holders = self._searcher.doc_freq(TEXT, term)
                if holders >= _FREQUENT * self.count:
                    idf = math.log(1 + (self._total - holders + 0.5) / (holders + 0.5))
                    weights.append((times * idf * (self._bm25.k1 + 1), term))
        chosen: dict[str, float] = {}
        for weight, term in sorted(weights):
            if sum(chosen.values()) + weight > _MOST_ADDED:
                break
            chosen[term] = weight
        return chosen if len(chosen) < len(scored) else {}

    def _best_in_two_steps(self, query: TermQuery, left_out: dict[str, float], limit: int) -> list[Hit] | None:
        """Return the best hits; None if that cannot be told without looking at all documents."""
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
        """Return the part of the BM25 score that terms add to documents."""
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
        What tantivy computes with, by its own account of one score: it counts deleted documents for a while.

        Number of documents (N) and mean length (avgdl); empty if a later tantivy gives another account.
        """
        term = next((term for term in self._frequent.columns if self._searcher.doc_freq(TEXT, term)), None)
        if term is None:
            return {}
        query = tantivy.Query.term_query(self._schema, TEXT, term, "freq")
        (_, address), *_ = self._searcher.search(query, limit=1, count=False).hits
        values: dict[str, float] = {}
        parts = [json.loads(query.explain(self._searcher, address).to_json())]
        while parts:
            part = parts.pop()
            values[part["description"].partition(",")[0]] = part["value"]
            parts += part.get("details") or []
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
        # Worth nothing in themselves: their words count in `any_term` already, as in a query without operators.
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
