"""Indexing files: finding them, detecting changes, and the run that converts, embeds and stores them."""

from rerank_plugin.indexing.copying import CopyReport, copy_documents
from rerank_plugin.indexing.job import IndexReport
from rerank_plugin.indexing.pipeline import is_for_another_store
from rerank_plugin.indexing.run import index_paths, is_up_to_date

__all__ = ["CopyReport", "IndexReport", "copy_documents", "index_paths", "is_for_another_store", "is_up_to_date"]
