"""The server over streamable HTTP, for clients of other machines: behind keys, with health checks, metrics and a log."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rerank_plugin.serving.exchange import json_response
from rerank_plugin.serving.gate import Gate
from rerank_plugin.serving.keys import KeyRing
from rerank_plugin.serving.mcp.sdk import make_server
from rerank_plugin.serving.mcp.service import McpService
from rerank_plugin.serving.metrics import CONTENT_TYPE, Metrics
from rerank_plugin.serving.server import listen, uvicorn_config
from rerank_plugin.serving.settings import ServerSettings

PATH = "/mcp"
# Sessions that nobody has used for so long are forgotten; their clients begin a new one.
IDLE_SECONDS = 1800


class McpEndpoint:
    """
    The endpoint of the protocol, as an ASGI application.

    :param service: The service.
    :param settings: How the server is run: what may be its name in requests follows from its address.
    """

    def __init__(self, service: McpService, settings: ServerSettings) -> None:
        self.manager = StreamableHTTPSessionManager(
            make_server(service),
            security_settings=_security(settings),
            session_idle_timeout=IDLE_SECONDS,
            max_request_body_size=settings.limits.body_bytes,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        await self.manager.handle_request(scope, receive, send)


def create_mcp_app(
    service: McpService,
    *,
    settings: ServerSettings,
    keys: KeyRing | None = None,
    on_failure: Callable[[BaseException], None] = lambda _: None,
) -> ASGIApp:
    """
    Build the application.

    :param service: The service; it begins to load when the application starts.
    :param settings: How it is run.
    :param keys: Who may use it; `None`: everyone.
    :param on_failure: Called if the index or a model cannot be loaded.
    :returns: The application.
    """
    endpoint, metrics = McpEndpoint(service, settings), Metrics()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.begin(on_failure)
        async with endpoint.manager.run():
            yield
        await service.close()

    async def health(_: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(_: Request) -> Response:
        return json_response({"ready": service.is_ready}, status=200 if service.is_ready else 503)

    async def metrics_page(_: Request) -> Response:
        metrics.ready.set(service.is_ready)
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE})

    app = Starlette(
        lifespan=lifespan,
        routes=[
            Route(PATH, endpoint),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics_page),
        ],
    )
    return Gate(app, keys=keys or KeyRing(), metrics=metrics)


def run_http(
    service: McpService, *, settings: ServerSettings, keys: KeyRing, on_start: Callable[[int], None] = lambda _: None
) -> None:
    """
    Serve until SIGTERM or SIGINT.

    :param service: The service.
    :param settings: How it is run.
    :param keys: Who may use it.
    :param on_start: Called with the port, which is open then.
    :raises InvalidValueError: If the port is taken, or the address is not of this machine.
    :raises RerankError: If the index or a model cannot be loaded.
    """
    listening = listen(settings)
    failures: list[BaseException] = []

    def stop(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_mcp_app(service, settings=settings, keys=keys, on_failure=stop)
    server = uvicorn.Server(uvicorn_config(app, settings))
    on_start(listening.getsockname()[1])
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
    if failures:
        raise failures[0]


def _security(settings: ServerSettings) -> TransportSecuritySettings:
    """
    Refuse requests that a web page has led here under another name of this machine (DNS rebinding).

    A server that others reach has names that it does not know; there the keys are the protection.
    """
    names = ["127.0.0.1", "localhost", "[::1]"]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=settings.is_local,
        allowed_hosts=[f"{name}:*" for name in names] + names,
        allowed_origins=[f"{scheme}://{name}:*" for scheme in ("http", "https") for name in names]
        + list(settings.cors_origins),
    )
