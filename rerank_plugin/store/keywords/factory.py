"""Creates the keyword index of an engine."""

from pathlib import Path

from rerank_plugin.store.keywords.types import KeywordIndex, KeywordSettings


def open_keyword_index(settings: KeywordSettings, folder: Path | None) -> KeywordIndex:
    """
    Return a keyword index; nothing is read or built before its first `sync`.

    :param settings: Engine, analysis and BM25 parameters.
    :param folder: Folder for the files of engines that have any; None for an index in memory.
    """
    if settings.engine == "rank_bm25":
        from rerank_plugin.store.keywords.rank_bm25_index import RankBM25Index

        return RankBM25Index(settings)
    from rerank_plugin.store.keywords.tantivy_index import TantivyIndex

    return TantivyIndex(settings, folder)
