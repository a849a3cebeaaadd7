"""A server of the official package `mcp` for our service, for its first and its second version, whose interfaces differ."""

from collections.abc import Awaitable, Callable
from typing import Any

from mcp import types as installed_types
from mcp.server.lowlevel import Server as InstalledServer
from mcp.shared import exceptions as installed_exceptions

from rerank_plugin import __version__
from rerank_plugin.errors import RerankError
from rerank_plugin.serving.mcp.service import JsonObject, McpService, Progress

NAME = "rerank"
INSTRUCTIONS = (
    "Search first, with the words of the question; fetch a document by its id where a passage does not suffice. "
    "Cite what you used by its url or title."
)
NOT_FOUND = -32602  # invalid params: in the second version of the protocol also for resources

# Whatever is not in both versions is looked up here, and checked by the tests of both instead of by types.
types: Any = installed_types
exceptions: Any = installed_exceptions
Server: Any = InstalledServer

# Params of a request as plain values, and whom to tell the progress, -> the result as plain values.
Handler = Callable[[JsonObject, Progress], Awaitable[JsonObject]]
# For each method of the protocol: its handler, and the names of its request, params and result in the package.
Methods = dict[str, tuple[Handler, str, str, str]]


def make_server(service: McpService) -> Any:
    """
    Return a server of the package that answers by a service.

    :param service: The service.
    :returns: An `mcp.server.lowlevel.Server`.
    """
    methods = _methods(service)
    return _second_version(methods) if hasattr(Server, "add_request_handler") else _first_version(methods)


def _methods(service: McpService) -> Methods:
    async def list_tools(_: JsonObject, __: Progress) -> JsonObject:
        return await service.list_tools()

    async def call_tool(params: JsonObject, progress: Progress) -> JsonObject:
        return await service.call_tool(params["name"], params.get("arguments") or {}, progress)

    async def list_resources(_: JsonObject, __: Progress) -> JsonObject:
        return await service.list_resources()

    async def list_templates(_: JsonObject, __: Progress) -> JsonObject:
        return await service.list_resource_templates()

    async def read_resource(params: JsonObject, _: Progress) -> JsonObject:
        try:
            return await service.read_resource(str(params["uri"]))
        except RerankError as error:
            raise _protocol_error(NOT_FOUND, str(error)) from error

    pages = "PaginatedRequestParams"
    return {
        "tools/list": (list_tools, "ListToolsRequest", pages, "ListToolsResult"),
        "tools/call": (call_tool, "CallToolRequest", "CallToolRequestParams", "CallToolResult"),
        "resources/list": (list_resources, "ListResourcesRequest", pages, "ListResourcesResult"),
        "resources/templates/list": (
            list_templates,
            "ListResourceTemplatesRequest",
            pages,
            "ListResourceTemplatesResult",
        ),
        "resources/read": (read_resource, "ReadResourceRequest", "ReadResourceRequestParams", "ReadResourceResult"),
    }


def _first_version(methods: Methods) -> Any:
    server = Server(NAME, version=__version__, instructions=INSTRUCTIONS)

    def handle(handler: Handler, result: str) -> Callable[[Any], Awaitable[Any]]:
        async def handled(request: Any) -> Any:
            context = server.request_context
            token = getattr(context.meta, "progressToken", None)

            async def progress(done: int, message: str) -> None:
                if token is not None:
                    await context.session.send_progress_notification(
                        token, done, message=message, related_request_id=str(context.request_id)
                    )

            answer = await handler(_plain(request.params), progress)
            return types.ServerResult(getattr(types, result).model_validate(answer))

        return handled

    for handler, request, _, result in methods.values():
        server.request_handlers[getattr(types, request)] = handle(handler, result)
    return server


def _second_version(methods: Methods) -> Any:
    server = Server(NAME, version=__version__, instructions=INSTRUCTIONS)

    def handle(handler: Handler, result: str) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handled(context: Any, params: Any) -> Any:
            async def progress(done: int, message: str) -> None:
                await context.session.report_progress(done, message=message)

            return getattr(types, result).model_validate(await handler(_plain(params), progress))

        return handled

    for method, (handler, _, params, result) in methods.items():
        server.add_request_handler(method, getattr(types, params), handle(handler, result))
    return server


def _plain(params: Any) -> JsonObject:
    plain: JsonObject = {} if params is None else params.model_dump(by_alias=True, exclude_none=True)
    return plain


def _protocol_error(code: int, message: str) -> Exception:
    error: Exception
    if hasattr(exceptions, "MCPError"):
        error = exceptions.MCPError(code, message)
    else:
        error = exceptions.McpError(types.ErrorData(code=code, message=message))
    return error
