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
from rerank_plugin.components.sparse_bm25 import BM25SparseDocumentEmbedder, BM25SparseTextEmbedder
from rerank_plugin.components.two_stage import TwoStageRetriever

allow_deserialization_module("rerank_plugin")
# The one integration of the packaged pipelines that does not stand below haystack_integrations, which Haystack allows.
allow_deserialization_module("milvus_haystack")

__all__ = [
    "BM25Retriever",
    "BM25SparseDocumentEmbedder",
    "BM25SparseTextEmbedder",
    "CrossEncoderRanker",
    "EmbeddingRetriever",
    "IncrementalDocumentEmbedder",
    "ResultCollapser",
    "TwoStageRetriever",
]
