"""Indexing files: finding them, detecting changes, and the run that converts, embeds and stores them."""

from rerank_plugin.indexing.job import IndexReport
from rerank_plugin.indexing.run import index_paths, is_up_to_date

__all__ = ["IndexReport", "index_paths", "is_up_to_date"]
