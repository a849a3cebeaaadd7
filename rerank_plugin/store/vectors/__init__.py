"""Vector search: exact for a small number of vectors, approximate candidates with exact scores beyond it."""

from rerank_plugin.store.vectors.index import VectorIndex

__all__ = ["VectorIndex"]
