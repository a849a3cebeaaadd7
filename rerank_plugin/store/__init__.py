"""HybridDocumentStore: SQLite holds the documents, FAISS and a keyword index are derived from it."""

from rerank_plugin.store.document_store import HybridDocumentStore

__all__ = ["HybridDocumentStore"]
