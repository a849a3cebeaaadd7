"""The hits of a search as the page shows them: what each stage thought of them, and where the words of the query stand."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np
from haystack import Document

from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.components.ranking import RERANKED, SECOND_STAGE_SCORE
from rerank_plugin.components.reranker import WINDOW
from rerank_plugin.results import Hit
from rerank_plugin.scoring.calibration import sigmoid
from rerank_plugin.serving.page.passages import MOST_CHARACTERS
from rerank_plugin.store.keywords.highlights import Span

# Meta that the page shows by itself, or that means nothing to a reader.
SHOWN_APART = frozenset(
    """
    title source page section also_in source_fingerprint highlights window reranked partly_read
    first_stage_rank first_stage_score second_stage_score split_id split_idx_start
    """.split()
)


def page_hit(hit: Hit, ranker: CrossEncoderRanker | None, find_words: Callable[[str], list[Span]]) -> dict[str, Any]:
    """
    Return a hit as plain values.

    :param hit: The hit.
    :param ranker: The cross-encoder that ranked it; `None`: none did, or one of another library.
    :param find_words: Finds the words of the query in a text.
    """
    document = hit.document
    shown = (document.content or "")[:MOST_CHARACTERS]
    return {
        **passage(document),
        "rank": hit.rank,
        "title": hit.title,
        "score": document.score,
        "first_stage_rank": hit.first_stage_rank,
        "first_stage_score": hit.first_stage_score,
        "probability": _probability(document, ranker),
        "is_scored": document.meta.get(RERANKED, True) is not False,
        "is_partly_read": bool(document.meta.get("partly_read")),
        "window": document.meta.get(WINDOW),
        "words": find_words(shown),
        "also_in": hit.also_in,
        "meta": {name: value for name, value in document.meta.items() if name not in SHOWN_APART},
    }


def passage(document: Document) -> dict[str, Any]:
    """
    Return a document as a reader knows it: its text, and where it stands.

    :param document: The document. What is shown of a very long text is its beginning; `characters` says how many it has.
    """
    content, meta = document.content or "", document.meta
    source = meta.get("source")
    return {
        "id": document.id,
        "title": str(meta.get("title") or source or document.id),
        "source": None if source is None else str(source),
        "file": None if source is None else PurePath(str(source)).name,
        "page": meta.get("page") if isinstance(meta.get("page"), int) else None,
        "section": str(meta["section"]) if meta.get("section") else None,
        "content": content[:MOST_CHARACTERS],
        "characters": len(content),
    }


def _probability(document: Document, ranker: CrossEncoderRanker | None) -> float | None:
    """Return how probable it is that a document answers, by the cross-encoder alone; `None` if it did not score it."""
    if ranker is None or document.score is None or document.meta.get(RERANKED) is False:
        return None
    value = float(document.meta.get(SECOND_STAGE_SCORE, document.score))
    return value if ranker.config.scale_score else float(sigmoid(np.array(value)))
