"""From a query to documents: apply the filter, search the rows it allows, read the documents."""

import logging
from collections import OrderedDict
from dataclasses import replace
from typing import Any

from haystack.dataclasses import Document

from rerank_plugin.store.derived import DamagedIndexError, DerivedIndex, Hit, Rows
from rerank_plugin.store.filtering.filters import RowFilter
from rerank_plugin.store.filtering.shape import check as check_filters
from rerank_plugin.store.sqlite.database import Database

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
_KEPT_FILTERS = 16
# Hits beyond `top_k` that are fetched to resolve ties: at first, and at most.
_SPARE_HITS = 16
_MAX_TIED_HITS = 1_000
# Larger limits overflow the integer types of the engines.
_MAX_HITS = 2**31


class FilterCache:
    """The rows that recent filters allow: both retrievers of a pipeline, and most queries, use the same filters."""

    def __init__(self) -> None:
        """Make an empty cache."""
        self._counter = -1
        self._rows: OrderedDict[str, Rows] = OrderedDict()

    def rows(self, database: Database, filters: dict[str, Any] | None) -> Rows | None:
        """
        Return the matching rows, None for all.

        :param database: The source-of-truth database.
        :param filters: Haystack filters; None or empty for none.
        :raises FilterError: If the filters are malformed.
        """
        if filters is None or filters == {}:
            return None
        if database.changes.counter != self._counter:
            self._rows.clear()
            self._counter = database.changes.counter
        check_filters(filters)  # before `repr`, which fails on deeply nested filters
        key = repr(filters)
        if key not in self._rows:
            self._rows[key] = database.documents.matching(RowFilter(filters))
        self._rows.move_to_end(key)
        if len(self._rows) > _KEPT_FILTERS:
            self._rows.popitem(last=False)
        return self._rows[key]


def retrieve(
    database: Database,
    index: DerivedIndex,
    cache: FilterCache,
    query: Any,
    filters: dict[str, Any] | None,
    top_k: int,
    *,
    embeddings: bool = False,
) -> list[Document]:
    """
    Return the best documents for a query.

    :param database: The source-of-truth database.
    :param index: The index to search.
    :param cache: Rows of recent filters.
    :param query: A keyword query or a vector, whichever the index takes.
    :param filters: Only matching documents are returned.
    :param top_k: Number of documents; fewer only if fewer match.
    :param embeddings: Whether to return the documents with their embeddings.
    :returns: New documents, best first; equal scores are ordered by id. If more than 1,000 documents beyond `top_k` share
        the score of the last one, the order of the index decides which of them are included.
    :raises FilterError: If the filters are malformed, or compare values that cannot be compared.
    :raises StoreError: If the index cannot be read, even after it was rebuilt.
    """
    documents: list[Document] = []
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            index.sync(database)
            with database.snapshot():
                allowed = cache.rows(database, filters)
                documents = _search(database, index, query, allowed, min(top_k, _MAX_HITS), embeddings=embeddings)
        except DamagedIndexError as error:
            if attempt == _ATTEMPTS:
                raise
            logger.warning("A derived index is damaged and will be built again: %s", error)
            index.reset()
        else:
            break
    return documents


def _search(
    database: Database, index: DerivedIndex, query: Any, allowed: Rows | None, top_k: int, *, embeddings: bool
) -> list[Document]:
    """Return the documents of the best hits that are still there: another process may have deleted some since the `sync`."""
    wanted = top_k
    while True:
        hits = _best(database, index, query, allowed, wanted)
        documents = _read(database, hits, embeddings=embeddings)
        gone = len(hits) - len(documents)
        if not gone or len(documents) >= top_k or len(hits) < wanted or wanted == _MAX_HITS:
            documents.sort(key=lambda document: (-(document.score or 0.0), document.id))
            return documents[:top_k]
        wanted = min(_MAX_HITS, wanted * 2 + gone)


def _read(database: Database, hits: list[Hit], *, embeddings: bool) -> list[Document]:
    scores = {hit.row: hit.score for hit in hits}
    if not embeddings:
        return database.documents.scored(scores)
    return [replace(document, score=scores[row]) for row, document in database.documents.read(list(scores))]


def _best(database: Database, index: DerivedIndex, query: Any, allowed: Rows | None, top_k: int) -> list[Hit]:
    """
    Return the best hits; ties for the last places are broken by id, not by the order of the index.

    To collect all hits that share the last score, the index is asked for more of them, up to a bound: a query vector of
    zeros is equally near to every document.
    """
    if allowed is not None and not allowed.size:
        return []
    limit, max_limit = top_k + _SPARE_HITS, top_k + _MAX_TIED_HITS
    hits = index.search(query, limit, allowed)
    while len(hits) == limit < max_limit and hits[-1].score == hits[top_k - 1].score:
        limit = min(max_limit, limit * 8)
        hits = index.search(query, limit, allowed)
    if len(hits) <= top_k:
        return hits
    last = hits[top_k - 1].score
    safe = [hit for hit in hits if hit.score > last]
    tied = [hit for hit in hits if hit.score == last]
    ids = database.documents.ids_of([hit.row for hit in tied])
    tied.sort(key=lambda hit: ids.get(hit.row, ""))
    return safe + tied[: top_k - len(safe)]
