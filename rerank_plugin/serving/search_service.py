"""Searches of an index with the pipelines that the server was started with."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from haystack import Document, Pipeline
from haystack.errors import FilterError
from pydantic import BaseModel, ConfigDict, Field

from rerank_plugin.checks import shown
from rerank_plugin.components.ranker import CrossEncoderRanker
from rerank_plugin.errors import InvalidValueError, StoreError, caused_by
from rerank_plugin.judgements.pooling import search_both_stages
from rerank_plugin.pipelines import build_pipeline, read_pipeline
from rerank_plugin.pipelines.timing import stopwatch
from rerank_plugin.results import SearchResult, hits_as_json
from rerank_plugin.scoring.limits import stoppable
from rerank_plugin.search import Searcher
from rerank_plugin.serving.admission import Admission
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.warming import prepare

T = TypeVar("T")
THREADS = 8


class SearchBody(BaseModel):
    """A request to `/search`."""

    model_config = ConfigDict(extra="ignore")

    query: str = Field(min_length=1)
    pipeline: str | None = Field(default=None, description="One of the server's pipelines; default: the first.")
    top_k: int | None = Field(default=None, ge=1, le=10_000)
    candidates: int | None = Field(default=None, ge=1, le=10_000)
    filters: dict[str, Any] | None = Field(default=None, description="Haystack filters.")
    rerank: bool = Field(default=True, description="Whether the second stage runs, if the pipeline has one.")
    time_budget_ms: float | None = Field(default=None, gt=0, description="Milliseconds for the second stage.")
    highlights: bool = Field(default=False, description="Whether to find the sentence of each hit that answers best.")
    collapse: bool | None = Field(default=None, description="Whether near duplicates of better hits are left out.")
    max_per_source: int | None = Field(default=None, ge=1, description="Maximum number of hits of one file.")


SEARCH_EXAMPLE: dict[str, Any] = {
    "query": "coffee maker slow and loud from chalk",
    "top_k": 3,
    "filters": {"field": "meta.lang", "operator": "==", "value": "en"},
    "highlights": True,
}


class SearchService:
    """
    Runs searches in threads of its own.

    :param index: Folder of the index.
    :param pipelines: Names of packaged pipelines, or paths of YAML files, at least one; the first is the default.
    :param embedding_model: Hub id or folder that replaces the model of every embedder; `None`: no replacement.
    :param max_waiting: Searches that may wait or run at the same time.
    :param may_be_empty: Whether the index may still be without documents when the server starts.
    :ivar index: Folder of the index.
    :ivar sources: Name or YAML file of each pipeline, by the name that requests use.
    :ivar embedding_model: See the parameter.
    :raises PipelineConfigError: If a pipeline cannot be loaded.
    """

    def __init__(
        self,
        index: Path,
        pipelines: Sequence[str],
        *,
        embedding_model: str | None = None,
        max_waiting: int,
        may_be_empty: bool = False,
    ) -> None:
        self.index, self.embedding_model = index, embedding_model
        self.sources = {_name(source): source for source in pipelines}
        self.may_be_empty = may_be_empty
        self._data = {
            name: read_pipeline(source, index=index, embedding_model=embedding_model)
            for name, source in self.sources.items()
        }
        self._pipelines = {name: build_pipeline(data, name=name) for name, data in self._data.items()}
        self._searchers = {name: Searcher(pipeline, name=f"pipeline {name}") for name, pipeline in self._pipelines.items()}
        self._admission = Admission(max_requests=max_waiting)
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="search-serve")

    @property
    def names(self) -> list[str]:
        """The pipelines, the default first."""
        return list(self._searchers)

    def warm_up(self) -> None:
        """
        Open the index, load the models of all pipelines, and prepare the rankers.

        :raises StoreError: If the index is empty and may not be.
        """
        if self.may_be_empty and not self.store.count_documents():
            return  # the components are loaded by the first search
        for searcher in self._searchers.values():
            searcher.warm_up()
            if isinstance(searcher.ranker, CrossEncoderRanker):
                prepare(searcher.ranker.logits)

    def close(self) -> None:
        """Wait for the running searches."""
        self._threads.shutdown()

    async def search(self, body: SearchBody, *, on_start: Callable[[str], None] | None = None) -> dict[str, Any]:
        """
        Run a search. If its task is cancelled, it ends before the next batch of the second stage.

        :param body: The request.
        :param on_start: Called with the name of each component that begins to run, in the thread of the search.
        :returns: The hits, the time of each component, and how the second stage did.
        :raises RequestError: If there is no such pipeline, or the filters are wrong.
        :raises OverloadedError: If too many searches are waiting.
        """
        name = self.checked_name(body.pipeline)
        result = await self.run(partial(self._watched_search, name, body, on_start))
        return {"pipeline": name, **hits_as_json(body.query, result), "status": result.status}

    async def both_stages(self, query: str, pipeline: str, depth: int) -> SearchResult:
        """
        Run a search for a pool: see `search_both_stages`.

        :param query: The query.
        :param pipeline: Name of the pipeline.
        :param depth: So many hits of each stage.
        :raises RequestError: If there is no such pipeline.
        :raises OverloadedError: If too many searches are waiting.
        """
        self.check_name(pipeline)
        return await self.run(partial(search_both_stages, self._searchers[pipeline], query, depth=depth))

    def check_name(self, pipeline: str) -> None:
        """
        Check the name of a pipeline.

        :param pipeline: The name.
        :raises RequestError: If there is no such pipeline.
        """
        if pipeline not in self._searchers:
            raise RequestError(f"unknown pipeline {shown(pipeline)}: choose one of {self.names}", param="pipeline")

    async def document(self, document_id: str) -> dict[str, Any]:
        """
        Return a document by its id.

        :param document_id: The id.
        :raises RequestError: If there is none.
        """
        found: list[Document] = await self.run(partial(self._find, document_id))
        if not found:
            raise RequestError(f"there is no document {shown(document_id)}", status=404, kind="not_found", param="id")
        return {"id": found[0].id, "content": found[0].content, "meta": found[0].meta}

    @property
    def store(self) -> Any:
        """
        The document store of the first pipeline.

        :raises StoreError: If it has none.
        """
        stores = self._searchers[self.names[0]].document_stores
        if not stores:
            raise StoreError(f"the pipeline {self.names[0]} has no document store")
        return stores[0]

    async def run(self, work: Callable[[], T]) -> T:
        """
        Do some blocking work in one of the threads of the searches. If the task is cancelled, scoring within it ends.

        :param work: The work.
        :raises OverloadedError: If too many searches are waiting.
        """
        stopped = threading.Event()

        def stoppable_work() -> T:
            with stoppable(stopped.is_set):
                return work()

        with self._admission.admit():
            try:
                return await asyncio.wrap_future(self._threads.submit(stoppable_work))
            finally:
                stopped.set()

    def _watched_search(self, name: str, body: SearchBody, on_start: Callable[[str], None] | None) -> SearchResult:
        with stopwatch(on_start):
            return self._search(name, body)

    def checked_name(self, name: str | None) -> str:
        """
        Return the name of a pipeline.

        :param name: What a client asks for; `None`: the default.
        :raises RequestError: If there is no such pipeline.
        """
        chosen = self.names[0] if name is None else name
        self.check_name(chosen)
        return chosen

    def definition(self, name: str) -> dict[str, Any]:
        """Return what the YAML of a pipeline says, adapted to the index; not to be changed."""
        return self._data[name]

    def pipeline(self, name: str) -> Pipeline:
        """Return a pipeline."""
        return self._pipelines[name]

    def searcher(self, name: str) -> Searcher:
        """Return what searches with a pipeline."""
        return self._searchers[name]

    def _search(self, name: str, body: SearchBody) -> SearchResult:
        return search_with(self._searchers[name], body)

    def _find(self, document_id: str) -> list[Document]:
        found: list[Document] = self.store.filter_documents({"field": "id", "operator": "==", "value": document_id})
        return found


def search_with(searcher: Searcher, body: SearchBody, *, top_k: int | None = None) -> SearchResult:
    """
    Run the search that a client asks for.

    :param searcher: What searches.
    :param body: The request.
    :param top_k: Number of hits instead of that in the request.
    :raises InvalidValueError: If the filters are wrong, or another value is.
    """
    try:
        return searcher.search(
            body.query,
            top_k=body.top_k if top_k is None else top_k,
            candidates=body.candidates,
            filters=body.filters,
            sentences=body.highlights,
            collapse=body.collapse,
            max_per_source=body.max_per_source,
            time_budget_ms=body.time_budget_ms,
            rerank=body.rerank,
        )
    except Exception as error:
        refused = caused_by(error, FilterError)
        if refused is None:
            raise
        raise InvalidValueError(f"filters: {refused}") from None


def _name(source: str) -> str:
    return Path(source).stem if source.endswith((".yaml", ".yml")) else source
