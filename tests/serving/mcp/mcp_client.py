"""
Sessions of the official Python client, in its first or its second version, against a server of ours.

Also run by the client's other version in an environment of its own: nothing else of the tests is imported here.
"""

import importlib
import json
import os
import shlex
import sys
from contextlib import asynccontextmanager
from typing import Any

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

IS_SECOND = "input_schema" in types.Tool.model_fields


@asynccontextmanager
async def over_stdio(*arguments: str, log=None, prefix=()):
    """Start `rerank mcp` and open a session; what it prints goes also into the file `log`."""
    command = [sys.executable, *(prefix or ("-m", "rerank_plugin")), "mcp", *arguments]
    if log is not None:
        command = ["sh", "-c", f"{shlex.join(command)} | tee {shlex.quote(str(log))}"]
    parameters = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def over_http(url: str, key: str | None = None):
    """Open a session with a server over streamable HTTP."""
    http: Any = importlib.import_module("httpx2" if IS_SECOND else "httpx")
    from mcp.client.streamable_http import streamable_http_client

    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with (
        http.AsyncClient(headers=headers, timeout=30) as client,
        streamable_http_client(url, http_client=client) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        yield session


def plain(result) -> dict:
    """Return a result as it is on the wire."""
    return result.model_dump(by_alias=True, exclude_none=True, mode="json")


async def cancel(session, call):
    """Cancel a call that is running as a task. The first version of the client leaves it to its user to tell the server."""
    if not IS_SECOND:
        params = types.CancelledNotificationParams(requestId=session._request_id - 1, reason="not wanted any more")
        notification = types.CancelledNotification(method="notifications/cancelled", params=params)
        await session.send_notification(types.ClientNotification(notification))
    call.cancel()


async def use_everything(session, query: str, expected_id: str) -> None:
    """List and call all that the server has."""
    tools = {tool["name"]: tool for tool in plain(await session.list_tools())["tools"]}
    assert set(tools) == {"search", "fetch"}
    assert all(tool["annotations"]["readOnlyHint"] for tool in tools.values())
    assert set(tools["search"]["inputSchema"]["properties"]) >= {"query", "top_k", "filters", "rerank"}

    steps = []

    async def on_progress(progress, total, message):
        steps.append((progress, message))

    found = plain(await session.call_tool("search", {"query": query, "top_k": 2}, progress_callback=on_progress))
    assert not found.get("isError"), found
    results = found["structuredContent"]["results"]
    assert results[0]["id"] == expected_id
    assert {"id", "title", "url", "text"} <= set(results[0])
    assert json.loads(found["content"][0]["text"]) == found["structuredContent"]
    assert [number for number, _ in steps] == sorted(number for number, _ in steps)
    assert "bm25_retriever" in {message for _, message in steps}

    document = plain(await session.call_tool("fetch", {"id": expected_id}))["structuredContent"]
    assert document["text"] == results[0]["text"]
    assert document["url"] == results[0]["url"]

    (template,) = plain(await session.list_resource_templates())["resourceTemplates"]
    uri = template["uriTemplate"].replace("{id}", expected_id)
    assert plain(await session.read_resource(uri))["contents"][0]["text"] == document["text"]
    (listed,) = plain(await session.list_resources())["resources"]
    assert '"documents": 8' in plain(await session.read_resource(listed["uri"]))["contents"][0]["text"]

    for name, arguments, message in (
        ("search", {"query": " "}, "query is empty"),
        ("search", {}, "query: Input should be a valid string"),
        ("search", {"query": "fox", "top_k": 51}, "top_k must be at most 50"),
        ("search", {"query": "fox", "filters": [{"field": "colour", "operator": "==", "value": 1}]}, "no field 'colour'"),
        ("fetch", {"id": "none"}, "there is no document 'none'"),
        ("delete", {}, "unknown tool 'delete'"),
    ):
        wrong = plain(await session.call_tool(name, arguments))
        assert wrong["isError"]
        assert message in wrong["content"][0]["text"]
