"""The server on standard input and output, for clients that start it themselves."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import FrameType
from typing import NoReturn

import anyio
from mcp.server.stdio import stdio_server

from rerank_plugin.serving.mcp.sdk import make_server
from rerank_plugin.serving.mcp.service import McpService


def run_stdio(service: McpService, *, on_failure: Callable[[BaseException], NoReturn]) -> None:
    """
    Serve until standard input ends. Standard output carries the protocol alone.

    :param service: The service.
    :param on_failure: Called if the index or a model cannot be loaded; it ends the process.
    """
    with _protocol_streams() as (incoming, outgoing):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _end)
        anyio.run(_serve, service, on_failure, incoming, outgoing)


async def _serve(
    service: McpService,
    on_failure: Callable[[BaseException], None],
    incoming: TextIOWrapper,
    outgoing: TextIOWrapper,
) -> None:
    server = make_server(service)
    service.begin(on_failure)
    try:
        async with stdio_server(anyio.wrap_file(incoming), anyio.wrap_file(outgoing)) as (read, write):
            await server.run(read, write, server.create_initialization_options())
    finally:
        await service.close()


@contextmanager
def _protocol_streams() -> Iterator[tuple[TextIOWrapper, TextIOWrapper]]:
    """
    Take standard input and output for the protocol alone.

    Whatever else the process or its libraries print, also those that are not written in Python, goes to standard error.
    """
    sys.stdout.flush()
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    with (
        TextIOWrapper(os.fdopen(incoming, "rb"), encoding="utf-8", errors="replace") as reader,
        TextIOWrapper(os.fdopen(outgoing, "wb"), encoding="utf-8") as writer,
    ):
        yield reader, writer


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interface of signal handlers
    # A thread waits for standard input, and nothing can wake it. Nothing is lost: the server only reads.
    os._exit(0)
