"""The tools that a client of MCP sees: their names, schemas and descriptions."""

from collections.abc import Sequence
from typing import Any

from rerank_plugin.agents.filters import Field, filters_schema

SEARCH, FETCH = "search", "fetch"
MOST_RESULTS = 50
DEFAULT_RESULTS = 10

_TEXT = {"type": "string"}
_PLACE = {
    "source": {**_TEXT, "description": "The file."},
    "page": {"type": "integer"},
    "section": {**_TEXT, "description": "The headings above it."},
}
_RESULT = {
    "type": "object",
    "properties": {
        "id": {**_TEXT, "description": "For the tool fetch."},
        "title": _TEXT,
        "url": {**_TEXT, "description": "For citations."},
        "text": {**_TEXT, "description": "The passage; if it is cut, it ends in [...]."},
        "score": {"type": ["number", "null"]},
        **_PLACE,
    },
    "required": ["id", "title", "url", "text"],
}
SEARCH_OUTPUT = {
    "type": "object",
    "properties": {
        "results": {"type": "array", "items": _RESULT},
        "state": {
            **_TEXT,
            "description": "complete; partial: no time to score all candidates; fallback: the first stage's order.",
        },
    },
    "required": ["results"],
}
FETCH_OUTPUT = {
    "type": "object",
    "properties": {
        "id": _TEXT,
        "title": _TEXT,
        "text": _TEXT,
        "url": _TEXT,
        "metadata": {"type": "object"},
    },
    "required": ["id", "title", "text", "url"],
}
# Clients ask less before they call a tool that only reads.
READ_ONLY = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}


def tool_list(fields: Sequence[Field], pipelines: Sequence[str], about: str | None) -> list[dict[str, Any]]:
    """
    Return the tools.

    :param fields: The metadata fields of the index.
    :param pipelines: The pipelines, the default first.
    :param about: What the documents are about; `None`: nothing is said.
    """
    documents = "the documents of this server" if about is None else about
    return [
        {
            "name": SEARCH,
            "title": "Search",
            "description": f"Searches {documents}. Returns the best passages, best first; cite their url or title.",
            "inputSchema": _search_input(fields, pipelines),
            "outputSchema": SEARCH_OUTPUT,
            "annotations": READ_ONLY,
        },
        {
            "name": FETCH,
            "title": "Fetch",
            "description": "Returns a document whole, with its metadata, by the id that search gave for it.",
            "inputSchema": {"type": "object", "properties": {"id": _TEXT}, "required": ["id"]},
            "outputSchema": FETCH_OUTPUT,
            "annotations": READ_ONLY,
        },
    ]


def _search_input(fields: Sequence[Field], pipelines: Sequence[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "query": {"type": "string", "description": "What to search for, in plain words."},
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_RESULTS,
            "description": f"Maximum number of results; default: {DEFAULT_RESULTS}.",
        },
        "filters": filters_schema(fields),
        "rerank": {"type": "boolean", "description": "false: faster and less exact; default: true."},
    }
    if len(pipelines) > 1:
        properties["pipeline"] = {
            "type": "string",
            "enum": list(pipelines),
            "description": f"How to search; default: {pipelines[0]}.",
        }
    return {"type": "object", "properties": properties, "required": ["query"]}
