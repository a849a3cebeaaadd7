"""
Search as a Hayhooks endpoint: POST /rerank_search/run. Only `query` is required; documents come without embeddings.

Environment: RERANK_INDEX, the folder of the index (default: index); RERANK_PIPELINE (default: bm25_rerank).
"""

import os

from hayhooks import BasePipelineWrapper

from rerank_plugin.agents.opened import OpenPipeline
from rerank_plugin.results import hits_as_json


class PipelineWrapper(BasePipelineWrapper):
    """Searches with a pipeline of rerank_plugin."""

    def setup(self) -> None:
        """Load the pipeline, and search once so that the first request finds everything warm."""
        source = os.environ.get("RERANK_PIPELINE", "bm25_rerank")
        self.opened = OpenPipeline(source, index=os.environ.get("RERANK_INDEX", "index"))
        self.opened.warm_up()
        self.opened.search("what is prepared here")
        self.pipeline = self.opened.pipeline

    def run_api(self, query: str, filters: dict | None = None, top_k: int | None = None, rerank: bool = True) -> dict:
        """
        Search the documents. Returns passages, best first, with file, page and section.

        :param query: What to search for.
        :param filters: Haystack filters.
        :param top_k: Maximum number of passages.
        :param rerank: False: faster and less exact.
        """
        found = self.opened.search(query, filters=filters, top_k=top_k, rerank=rerank)
        return {**hits_as_json(query, found), "status": found.status}
