"""
The components that a pipeline YAML can use.

Importing this package allows Haystack to load classes of `rerank_plugin` from YAML.
"""

from haystack.core.serialization_security import allow_deserialization_module

from rerank_plugin.components.bm25_retriever import BM25Retriever
from rerank_plugin.components.embedding_retriever import EmbeddingRetriever
from rerank_plugin.components.incremental_embedder import IncrementalDocumentEmbedder
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.components.result_collapser import ResultCollapser
from rerank_plugin.components.two_stage import TwoStageRetriever

allow_deserialization_module("rerank_plugin")

__all__ = [
    "BM25Retriever",
    "CrossEncoderRanker",
    "EmbeddingRetriever",
    "IncrementalDocumentEmbedder",
    "ResultCollapser",
    "TwoStageRetriever",
]
