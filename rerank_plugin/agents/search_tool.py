"""The tool with which an agent searches."""

import asyncio
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.components.agents import State
from haystack.tools import ComponentTool

from rerank_plugin.agents.citations import Cited, cite, keep, numbers_of
from rerank_plugin.agents.filters import filters_schema, haystack_filters
from rerank_plugin.agents.opened import OpenPipeline, Source
from rerank_plugin.checks import check_count, check_flag
from rerank_plugin.scoring.limits import stoppable

DESCRIPTION = (
    "Search the documents. Returns the passages that answer best, each with a number for citations like [2], its title, "
    "file, page and id. Cite the numbers of the passages that you used. Search again with other words if they do not hold "
    "the answer."
)


@component
class IndexSearch:
    """
    Searches with a pipeline and writes the hits for a language model. `search_tool` makes a tool of it.

    :param pipeline: Name of a packaged pipeline, path of a YAML file, a pipeline, or the dictionary of one.
    :param index: Folder that replaces the path of every document store of ours; `None`: no replacement.
    :param embedding_model: Hub id or folder that replaces the model of every embedder; `None`: no replacement.
    :param top_k: Passages in an answer, unless the model asks for another number.
    :param max_characters: About how long an answer may be.
    :param filters: Haystack filters that every search has, whatever the model asks for; `None`: none.
    :param time_budget_ms: Milliseconds for the second stage; `None`: as the pipeline is configured.
    :raises InvalidValueError: If a number is out of range.
    """

    def __init__(
        self,
        pipeline: Source = "bm25_rerank",
        *,
        index: str | Path | None = None,
        embedding_model: str | None = None,
        top_k: int = 5,
        max_characters: int = 8000,
        filters: dict[str, Any] | None = None,
        time_budget_ms: float | None = None,
    ) -> None:
        self.pipeline, self.index, self.embedding_model = pipeline, index, embedding_model
        self.top_k = check_count("top_k", top_k)
        self.max_characters = check_count("max_characters", max_characters)
        self.filters, self.time_budget_ms = filters, time_budget_ms
        self.opened = OpenPipeline(pipeline, index=index, embedding_model=embedding_model)

    def warm_up(self) -> None:
        """Open the index and load the models."""
        self.opened.warm_up()

    @component.output_types(text=str, documents=list[Document], status=dict[str, Any] | None)
    def run(
        self,
        query: str,
        filters: list[dict[str, Any]] | dict[str, Any] | None = None,
        top_k: int | None = None,
        rerank: bool = True,
        state: State | None = None,
    ) -> dict[str, Any]:
        """
        Search.

        :param query: What to search for, in plain words.
        :param filters: Conditions on the metadata (see `filters_schema`), or Haystack filters.
        :param top_k: Maximum number of passages; `None`: as configured.
        :param rerank: `False`: faster and less exact, the first stage alone.
        :param state: The state of the agent's run, in which citation numbers go on from call to call.
        :returns: `text` for the model, the `documents` in it, and the `status` of the second stage.
        :raises InvalidValueError: If an argument cannot be used.
        """
        check_flag("rerank", rerank)
        found = self.opened.search(
            query,
            rerank=rerank,
            top_k=self.top_k if top_k is None else top_k,
            filters=self._filters(filters),
            time_budget_ms=self.time_budget_ms,
        )
        known = numbers_of(state)
        hits = [replace(hit, document=replace(hit.document, embedding=None)) for hit in found.hits]
        new = iter(range(len(known) + 1, len(known) + len(hits) + 1))
        numbers = [known.get(hit.document.id) or next(new) for hit in hits]
        cited: Cited = cite(hits, numbers, max_characters=self.max_characters)
        keep(state, known, cited.documents)
        return {"text": cited.text, "documents": list(cited.documents), "status": found.status}

    @component.output_types(text=str, documents=list[Document], status=dict[str, Any] | None)
    async def run_async(
        self,
        query: str,
        filters: list[dict[str, Any]] | dict[str, Any] | None = None,
        top_k: int | None = None,
        rerank: bool = True,
        state: State | None = None,
    ) -> dict[str, Any]:
        """
        Search without blocking the event loop. A cancelled call stops before the next batch of the second stage.

        :param query: See `run`.
        :param filters: See `run`.
        :param top_k: See `run`.
        :param rerank: See `run`.
        :param state: See `run`.
        :returns: See `run`.
        """
        stopped = threading.Event()

        def work() -> dict[str, Any]:
            with stoppable(stopped.is_set):
                answer: dict[str, Any] = self.run(query, filters=filters, top_k=top_k, rerank=rerank, state=state)
                return answer

        try:
            return await asyncio.to_thread(work)
        finally:
            stopped.set()

    def _filters(self, asked: Any) -> dict[str, Any] | None:
        conditions = [each for each in (self.filters, haystack_filters(asked, self.opened.fields if asked else ())) if each]
        return {"operator": "AND", "conditions": conditions} if len(conditions) > 1 else next(iter(conditions), None)

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, for Haystack's YAML."""
        return default_to_dict(
            self,
            pipeline=self.pipeline if isinstance(self.pipeline, str) else plain_source(self.pipeline),
            index=None if self.index is None else str(self.index),
            embedding_model=self.embedding_model,
            top_k=self.top_k,
            max_characters=self.max_characters,
            filters=self.filters,
            time_budget_ms=self.time_budget_ms,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "IndexSearch":
        """
        Build the component from the output of `to_dict`, or from YAML.

        :param data: `type` and `init_parameters`.
        :returns: The component.
        """
        search: IndexSearch = default_from_dict(cls, data)
        return search


def plain_source(source: Source) -> str | dict[str, Any]:
    """Return what a YAML may hold of a pipeline: its name or path, or the pipeline as plain values."""
    if isinstance(source, str | Path):
        return str(source)
    return source if isinstance(source, dict) else source.to_dict()


class SearchTool(ComponentTool):
    """
    The tool that `search_tool` makes. Its schema names the metadata fields that the index has when the tool is warmed up,
    which an agent does before its first call.
    """

    def warm_up(self) -> None:
        """Open the index, load the models, and describe the metadata in the schema."""
        super().warm_up()
        search: Any = self._component
        self.parameters = _parameters(filters_schema(search.opened.fields), search.top_k)

    def to_dict(self) -> dict[str, Any]:
        """Return type and data, for Haystack's YAML; the schema is made anew when the tool is loaded."""
        data: dict[str, Any] = super().to_dict()
        data["data"]["parameters"] = None
        return data


def search_tool(
    pipeline: Source = "bm25_rerank",
    *,
    name: str = "search",
    description: str = DESCRIPTION,
    **settings: Any,
) -> SearchTool:
    """
    Make a tool with which an agent searches.

    The model passes a query and, if it wants, `filters` (conditions on metadata fields that the index has), `top_k`, and
    `rerank: false` for a faster first look. It reads numbered passages with title, file, page, section and id. The numbers
    go on from call to call within a run of the agent, and a passage keeps its own. If the agent has
    `state_schema={"documents": {"type": list[Document]}}`, its result lists the passages: `[n]` is `documents[n - 1]`.

    :param pipeline: Name of a packaged pipeline, path of a YAML file, a pipeline, or the dictionary of one.
    :param name: Name of the tool.
    :param description: What the model reads about it; say what the documents are about.
    :param settings: Further parameters of `IndexSearch`: `index`, `embedding_model`, `top_k`, `max_characters`, `filters`,
        `time_budget_ms`.
    :returns: The tool, for `Agent(tools=[...])`.
    :raises PipelineConfigError: If the pipeline cannot be loaded.
    """
    search = IndexSearch(pipeline, **settings)
    return SearchTool(component=search, name=name, description=description, outputs_to_string={"source": "text"})


def _parameters(filters: dict[str, Any], top_k: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What to search for, in plain words."},
            "filters": filters,
            "top_k": {"type": "integer", "minimum": 1, "description": f"Maximum number of passages; default: {top_k}."},
            "rerank": {"type": "boolean", "description": "false: faster and less exact; default: true."},
        },
        "required": ["query"],
    }
