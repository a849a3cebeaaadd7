"""What a judge sees for a query: the best hits of several pipelines and of both stages, each of them once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from haystack.dataclasses import Document

from rerank_plugin.components.ranking import (
    FIRST_STAGE_RANK,
    FIRST_STAGE_SCORE,
    PARTLY_READ,
    RERANKED,
    SECOND_STAGE_SCORE,
)
from rerank_plugin.results import SearchResult
from rerank_plugin.search import Searcher

DEPTH = 10
# More hits than any pipeline hands to its second stage, so that the ranks of both stages are known.
_WHOLE = 10_000
# What a ranker notes in the meta tells where a hit stood.
_NOTES = frozenset([FIRST_STAGE_RANK, FIRST_STAGE_SCORE, PARTLY_READ, RERANKED, SECOND_STAGE_SCORE])


@dataclass(frozen=True)
class PooledHit:
    """
    A document that one of the pipelines found.

    :param document: The document, without score and without what a ranker noted in its meta.
    :param stages: For each pipeline that found it, its `rank` and `score`, and `first_stage_rank` where it reranks.
    """

    document: Document
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def best_rank(self) -> int:
        """Its best rank in any stage of any pipeline."""
        ranks: list[int] = [
            stage[name] for stage in self.stages.values() for name in ("rank", "first_stage_rank") if stage.get(name)
        ]
        return min(ranks)


def search_both_stages(searcher: Searcher, query: str, *, depth: int = DEPTH) -> SearchResult:
    """
    Search so that `pool` finds the hits of both stages in the result.

    :param searcher: The pipeline.
    :param query: The query.
    :param depth: So many hits of each stage.
    """
    return searcher.search(query, top_k=_WHOLE if searcher.has_second_stage else depth, collapse=False)


def pool(query: str, results: Mapping[str, SearchResult], *, depth: int = DEPTH, blind: bool = False) -> list[PooledHit]:
    """
    Pool the hits of searches.

    :param query: The query.
    :param results: The result of each pipeline, from `search_both_stages`.
    :param depth: So many hits of each stage.
    :param blind: Order the hits by chance, so that nothing tells who ranked them where. The same hits of the same query
        always come in the same order.
    :returns: The hits; if not blind, by their best rank.
    """
    hits: dict[str, PooledHit] = {}
    for name, result in results.items():
        for hit in result.hits:
            stage = {"rank": hit.rank, "score": hit.document.score}
            if hit.first_stage_rank is not None:
                stage["first_stage_rank"] = hit.first_stage_rank
            if min(hit.rank, hit.first_stage_rank or hit.rank) <= depth:
                hits.setdefault(hit.document.id, PooledHit(_without_notes(hit.document))).stages[name] = stage
    return _ordered(query, list(hits.values()), blind=blind)


def _ordered(query: str, hits: Sequence[PooledHit], *, blind: bool) -> list[PooledHit]:
    if blind:
        return sorted(hits, key=lambda hit: sha256(f"{query}\0{hit.document.id}".encode()).digest())
    return sorted(hits, key=lambda hit: (hit.best_rank, hit.document.id))


def _without_notes(document: Document) -> Document:
    meta = {name: value for name, value in document.meta.items() if name not in _NOTES}
    return replace(document, score=None, meta=meta)
