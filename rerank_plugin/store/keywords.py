"""The choice of the keyword engine."""

from pathlib import Path
from typing import Protocol

from rerank_plugin.store.derived import DerivedIndex


class KeywordIndex(DerivedIndex, Protocol):
    """A derived index that is asked with a text."""

    # Whether the index stays on disk, so that it is worth completing before a store is closed.
    persistent: bool


def open_keyword_index(engine: str, folder: Path | None, language: str, *, stop_words: bool) -> KeywordIndex:
    """
    Return a keyword index; nothing is read or built before its first `sync`.

    :param engine: `tantivy` or `rank_bm25`.
    :param folder: Where an engine with files may keep them; None for an index in memory.
    :param language: A key of `analysis.STEMMERS`, or `simple`.
    :param stop_words: Whether to leave stop words out.
    """
    if engine == "rank_bm25":
        from rerank_plugin.store.keywords_rank_bm25 import RankBM25Index

        return RankBM25Index(language, stop_words=stop_words)
    from rerank_plugin.store.keywords_tantivy import TantivyIndex

    return TantivyIndex(folder, language, stop_words=stop_words)
