"""
Two-stage search for Haystack: a fine-tuned cross-encoder reranks what BM25 or FAISS retrieved.

The names below are imported on first use: importing the package itself is cheap, and Haystack (which loads torch) is
imported only with a component that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_plugin.agents.fetch_tool import fetch_tool
    from rerank_plugin.agents.search_tool import search_tool
    from rerank_plugin.components import (
        BM25Retriever,
        CrossEncoderRanker,
        EmbeddingRetriever,
        IncrementalDocumentEmbedder,
        ResultCollapser,
        TwoStageRetriever,
    )
    from rerank_plugin.components.collapsing import collapse_results
    from rerank_plugin.pipelines import load_pipeline
    from rerank_plugin.rank_texts import RankedText, rank
    from rerank_plugin.store import HybridDocumentStore

__version__ = "0.2.0"

__all__ = [
    "BM25Retriever",
    "CrossEncoderRanker",
    "EmbeddingRetriever",
    "HybridDocumentStore",
    "IncrementalDocumentEmbedder",
    "RankedText",
    "ResultCollapser",
    "TwoStageRetriever",
    "__version__",
    "collapse_results",
    "fetch_tool",
    "load_pipeline",
    "rank",
    "search_tool",
]

_MODULES = {
    "BM25Retriever": "rerank_plugin.components",
    "CrossEncoderRanker": "rerank_plugin.components",
    "EmbeddingRetriever": "rerank_plugin.components",
    "HybridDocumentStore": "rerank_plugin.store",
    "IncrementalDocumentEmbedder": "rerank_plugin.components",
    "ResultCollapser": "rerank_plugin.components",
    "TwoStageRetriever": "rerank_plugin.components",
    "collapse_results": "rerank_plugin.components.collapsing",
    "fetch_tool": "rerank_plugin.agents.fetch_tool",
    "RankedText": "rerank_plugin.rank_texts",
    "load_pipeline": "rerank_plugin.pipelines",
    "rank": "rerank_plugin.rank_texts",
    "search_tool": "rerank_plugin.agents.search_tool",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rerank_plugin' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
