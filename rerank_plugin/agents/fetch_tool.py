"""The tool with which an agent reads a document whole."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.components.agents import State
from haystack.tools import ComponentTool

from rerank_plugin.agents.citations import keep, numbers_of, place
from rerank_plugin.agents.opened import OpenPipeline, Source
from rerank_plugin.agents.search_tool import SearchTool, plain_source
from rerank_plugin.checks import check_count, check_text
from rerank_plugin.results import Hit

DESCRIPTION = "Read a document whole, by the id that the search tool gave for it."


@component
class IndexFetch:
    """
    Returns documents of an index by their ids. `fetch_tool` makes a tool of it.

    :param pipeline: See `IndexSearch`.
    :param index: See `IndexSearch`.
    :param max_characters: Maximum number of characters in an answer.
    :param opened: An open pipeline that is used instead; it is not saved.
    """

    def __init__(
        self,
        pipeline: Source = "bm25_rerank",
        *,
        index: str | Path | None = None,
        max_characters: int = 20_000,
        opened: OpenPipeline | None = None,
    ) -> None:
        self.pipeline, self.index = pipeline, index
        self.max_characters = check_count("max_characters", max_characters)
        self._opened = opened or OpenPipeline(pipeline, index=index)

    @component.output_types(text=str, document=Document)
    def run(self, id: str, start: int = 0, state: State | None = None) -> dict[str, Any]:  # noqa: A002 - as models know it
        """
        Return a document.

        :param id: Its id.
        :param start: The first character that is wanted, for the later parts of a long document.
        :param state: The state of the agent's run, in which the document keeps its citation number.
        :returns: `text` for the model, and the `document`.
        :raises InvalidValueError: If there is no such document.
        """
        document = replace(self._opened.document(check_text("id", id)), embedding=None)
        check_count("start", start, least=0)
        known = numbers_of(state)
        keep(state, known, [document])
        content = document.content or ""
        end = min(start + self.max_characters, len(content))
        text = f"[{known[document.id]}] {place(Hit(document, rank=1))}\n{content[start:end]}"
        if start or end < len(content):
            rest = f"; the rest: start={end}" if end < len(content) else ""
            text += f"\n(characters {start} to {end} of {len(content)}{rest})"
        return {"text": text, "document": document}

    def to_dict(self) -> dict[str, Any]:
        """Return type and init parameters, for Haystack's YAML."""
        return default_to_dict(
            self,
            pipeline=plain_source(self.pipeline),
            index=None if self.index is None else str(self.index),
            max_characters=self.max_characters,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "IndexFetch":
        """
        Build the component from the output of `to_dict`, or from YAML.

        :param data: `type` and `init_parameters`.
        :returns: The component.
        """
        fetch: IndexFetch = default_from_dict(cls, data)
        return fetch


def fetch_tool(
    source: SearchTool | Source = "bm25_rerank",
    *,
    index: str | Path | None = None,
    name: str = "fetch",
    description: str = DESCRIPTION,
    max_characters: int = 20_000,
) -> ComponentTool:
    """
    Make a tool with which an agent reads a document whole.

    :param source: The tool that finds the ids, whose open index is used; or a pipeline, see `search_tool`.
    :param index: Folder of the index, if `source` is a pipeline; `None`: as the pipeline says.
    :param name: Name of the tool.
    :param description: What the model reads about it.
    :param max_characters: Maximum number of characters in an answer; of a longer document the model asks for the parts.
    :returns: The tool, for `Agent(tools=[...])`.
    """
    if isinstance(source, SearchTool):
        search: Any = source._component
        fetch = IndexFetch(search.pipeline, index=search.index, max_characters=max_characters, opened=search.opened)
    else:
        fetch = IndexFetch(source, index=index, max_characters=max_characters)
    return ComponentTool(component=fetch, name=name, description=description, outputs_to_string={"source": "text"})
