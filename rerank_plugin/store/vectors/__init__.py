"""Vector search: exact for small collections; approximate candidates with exact scores for large ones."""

from rerank_plugin.store.vectors.index import VectorIndex

__all__ = ["VectorIndex"]
