"""The result of a search."""

from dataclasses import dataclass
from typing import Any

from haystack import Document

from rerank_plugin.components.places import Place, also_in


@dataclass(frozen=True)
class Hit:
    """
    A document of a result.

    :param document: The document, with the score of the last stage.
    :param rank: Its rank in the result, from 1.
    :param first_stage_rank: Its rank among the candidates, from 1; `None` without a second stage.
    :param first_stage_score: Its first-stage score; `None` without a second stage.
    :param sentence: Its sentence that matches the query best; empty if it was not requested.
    """

    document: Document
    rank: int
    first_stage_rank: int | None = None
    first_stage_score: float | None = None
    sentence: str = ""

    @property
    def title(self) -> str:
        """The document's title, or else its source, or else its id."""
        return str(self.document.meta.get("title") or self.source or self.document.id)

    @property
    def source(self) -> str | None:
        """The path of the file that the document comes from."""
        source = self.document.meta.get("source")
        return None if source is None else str(source)

    @property
    def page(self) -> int | None:
        """Its page (or slide) in the file, from 1; `None` if the file has no pages, or its index is older."""
        page = self.document.meta.get("page")
        return page if isinstance(page, int) else None

    @property
    def section(self) -> str | None:
        """The headings above it, outermost first, such as `Install > From source`."""
        section = self.document.meta.get("section")
        return str(section) if section else None

    @property
    def also_in(self) -> list[Place]:
        """Where else the same, or nearly the same, text stands."""
        return also_in(self.document)


@dataclass(frozen=True)
class SearchResult:
    """
    The result of a query.

    :param hits: Best first.
    :param milliseconds: Wall-clock time of each component, in the order of the pipeline.
    :param collapsed: Number of documents left out as near duplicates of a better hit, which lists them in `also_in`.
    :param over_limit: Number of documents passed over because of `max_per_source`.
    :param status: The status of the second stage (see `CrossEncoderRanker.run`); `None` without one.
    """

    hits: list[Hit]
    milliseconds: dict[str, float]
    collapsed: int = 0
    over_limit: int = 0
    status: dict[str, Any] | None = None


def hits_as_json(query: str, result: SearchResult) -> dict[str, Any]:
    """Return a search result as plain values."""
    return {
        "query": query,
        "hits": [
            {
                "rank": hit.rank,
                "first_stage_rank": hit.first_stage_rank,
                "score": hit.document.score,
                "first_stage_score": hit.first_stage_score,
                "id": hit.document.id,
                "title": hit.title,
                "source": hit.source,
                "page": hit.page,
                "section": hit.section,
                "also_in": hit.also_in,
                "sentence": hit.sentence,
                "content": hit.document.content,
                "meta": hit.document.meta,
            }
            for hit in result.hits
        ],
        "collapsed": result.collapsed,
        "over_limit": result.over_limit,
        "milliseconds": result.milliseconds,
    }
