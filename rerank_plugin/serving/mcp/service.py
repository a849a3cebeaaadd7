"""What the server does when a client calls: plain values of the protocol in and out, without the package that speaks it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rerank_plugin.agents.filters import Field, fields_of, haystack_filters
from rerank_plugin.checks import shown
from rerank_plugin.serving.exchange import Exchange, log_unexpected
from rerank_plugin.serving.mcp.documents import TEMPLATE, document_of, id_of, result_of
from rerank_plugin.serving.mcp.tools import DEFAULT_RESULTS, FETCH, MOST_RESULTS, SEARCH, tool_list
from rerank_plugin.serving.problems import INTERNAL, RequestError, problem_of

if TYPE_CHECKING:
    from rerank_plugin.serving.search_service import SearchService

# Told how far a call is: the number of steps done, and what is done next.
Progress = Callable[[int, str], Awaitable[None]]
JsonObject = dict[str, Any]

INDEX_URI = "rerank://index"
JSON = "application/json"


@dataclass(frozen=True)
class Opened:
    """
    What the calls need, once it is loaded.

    :param searches: Runs the searches; warm.
    :param fields: The metadata fields of the index.
    """

    searches: "SearchService"
    fields: list[Field]


class McpService:
    """
    The tools and resources of an index. Nothing can be changed through them.

    :param open_searches: Makes the service that searches; called once, in a thread, as it takes seconds.
    :param about: What the documents are about, for the description of the tool.
    :param url_template: See `url_of`.
    """

    def __init__(
        self, open_searches: Callable[[], "SearchService"], *, about: str | None = None, url_template: str | None = None
    ) -> None:
        self._open_searches, self._about, self._url_template = open_searches, about, url_template
        self._opening: asyncio.Task[Opened] | None = None

    def begin(self, on_failure: Callable[[BaseException], None] = lambda _: None) -> None:
        """
        Begin to load everything, so that the first call finds it warm. Called in the event loop.

        :param on_failure: Called if it cannot be loaded.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(asyncio.to_thread(self._open))
            self._opening.add_done_callback(lambda task: on_failure(error) if (error := task.exception()) else None)

    def _open(self) -> Opened:
        searches = self._open_searches()
        searches.warm_up()
        return Opened(searches, fields_of(searches.store))

    async def opened(self) -> Opened:
        """
        Wait until everything is loaded.

        :raises RerankError: If it cannot be loaded.
        """
        assert self._opening is not None, "call begin first"
        return await asyncio.shield(self._opening)  # a cancelled call does not cancel the loading

    @property
    def is_ready(self) -> bool:
        """Whether everything is loaded."""
        return self._opening is not None and self._opening.done() and self._opening.exception() is None

    async def close(self) -> None:
        """Wait for the running searches, and release the index."""
        if self._opening is None:
            return
        (opened,) = await asyncio.gather(self._opening, return_exceptions=True)
        if isinstance(opened, Opened):
            await asyncio.to_thread(opened.searches.close)

    async def list_tools(self) -> JsonObject:
        """Return the tools."""
        opened = await self.opened()
        return {"tools": tool_list(opened.fields, opened.searches.names, self._about)}

    async def call_tool(self, name: str, arguments: Mapping[str, Any], progress: Progress) -> JsonObject:
        """
        Call a tool.

        What is wrong with a call is told in its result, so that a model can mend it.

        :param name: Name of the tool.
        :param arguments: Its arguments.
        :param progress: Told how far it is.
        :returns: The result of the protocol's `tools/call`.
        """
        try:
            if name == SEARCH:
                found = await self._search(arguments, progress)
            elif name == FETCH:
                found = await self._fetch(arguments.get("id"))
            else:
                raise RequestError(f"unknown tool {shown(name)}: choose {SEARCH} or {FETCH}")
        except Exception as error:  # noqa: BLE001 - told to the model
            return {"content": [{"type": "text", "text": _message(error)}], "isError": True}
        text = json.dumps(found, ensure_ascii=False, default=str)
        return {"content": [{"type": "text", "text": text}], "structuredContent": json.loads(text), "isError": False}

    async def _search(self, arguments: Mapping[str, Any], progress: Progress) -> JsonObject:
        from rerank_plugin.serving.search_service import SearchBody

        opened = await self.opened()
        top_k = arguments.get("top_k")
        body = SearchBody.model_validate(
            {
                "query": arguments.get("query"),
                "pipeline": arguments.get("pipeline"),
                "top_k": DEFAULT_RESULTS if top_k is None else top_k,
                "filters": haystack_filters(arguments.get("filters"), opened.fields),
                "rerank": arguments.get("rerank", True),
            }
        )
        if body.top_k is not None and body.top_k > MOST_RESULTS:
            raise RequestError(f"top_k must be at most {MOST_RESULTS}, got {body.top_k}")
        steps = _Steps(progress, asyncio.get_running_loop())
        async with steps:
            found = await opened.searches.search(body, on_start=steps.begin)
        results = [result_of(hit, self._url_template) for hit in found["hits"]]
        return {"results": results, "state": (found["status"] or {}).get("state", "complete")}

    async def _fetch(self, document_id: Any) -> JsonObject:
        if not isinstance(document_id, str) or not document_id:
            raise RequestError(f"id must be the id of a document, got {shown(document_id)}")
        opened = await self.opened()
        return document_of(await opened.searches.document(document_id), self._url_template)

    async def list_resources(self) -> JsonObject:
        """Return the one resource that is listed: what the index is. Documents are read by the template's URIs."""
        return {"resources": [{"uri": INDEX_URI, "name": "index", "mimeType": JSON, "description": "What can be searched."}]}

    async def list_resource_templates(self) -> JsonObject:
        """Return the form of the URIs of documents."""
        return {
            "resourceTemplates": [
                {
                    "uriTemplate": TEMPLATE,
                    "name": "document",
                    "description": "A document by the id that search gave for it.",
                    "mimeType": "text/plain",
                }
            ]
        }

    async def read_resource(self, uri: str) -> JsonObject:
        """
        Return a resource.

        :param uri: Its URI.
        :raises RerankError: If there is none.
        """
        opened = await self.opened()
        if uri == INDEX_URI:
            facts = {
                "documents": await asyncio.to_thread(opened.searches.store.count_documents),
                "pipelines": opened.searches.names,
                "fields": {field.name: field.kind for field in opened.fields},
            }
            return {"contents": [{"uri": uri, "mimeType": JSON, "text": json.dumps(facts, ensure_ascii=False)}]}
        document_id = id_of(uri)
        if not document_id:
            raise RequestError(f"unknown resource {shown(uri)}: documents are {TEMPLATE}", status=404, kind="not_found")
        found = await opened.searches.document(document_id)
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": found["content"] or ""}]}


class _Steps:
    """
    Tells the progress of a search: the components of its pipeline, as they begin, in the order of their beginning.

    :param progress: Told in the event loop.
    :param loop: The event loop.
    """

    def __init__(self, progress: Progress, loop: asyncio.AbstractEventLoop) -> None:
        self._progress, self._loop = progress, loop
        self._begun: asyncio.Queue[str | None] = asyncio.Queue()
        self._telling: asyncio.Task[None] | None = None

    def begin(self, component: str) -> None:
        """Note that a component begins; called in the thread of the search."""
        self._loop.call_soon_threadsafe(self._begun.put_nowait, component)

    async def __aenter__(self) -> None:
        self._telling = asyncio.create_task(self._tell())

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        assert self._telling is not None
        if kind is None:
            self._begun.put_nowait(None)
            await self._telling
        else:
            self._telling.cancel()

    async def _tell(self) -> None:
        done = 0
        while (component := await self._begun.get()) is not None:
            await self._progress(done, component)
            done += 1
        await self._progress(done, "done")


def _message(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    problem = problem_of(error)
    if problem is INTERNAL:
        log_unexpected(error, Exchange())
    return problem.message
