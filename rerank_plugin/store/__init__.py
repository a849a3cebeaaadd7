"""HybridDocumentStore: documents in SQLite, with a FAISS index and a keyword index derived from them."""

from rerank_plugin.store.document_store import HybridDocumentStore

__all__ = ["HybridDocumentStore"]
