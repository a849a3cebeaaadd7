"""What every request passes: keys, and then the log, the metrics and the last handler of errors."""

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rerank_plugin.serving.exchange import CLIENT_LEFT, KEY, Exchange, log_unexpected, problem_response
from rerank_plugin.serving.keys import KeyRing, key_of
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.page.shell import SHELL_PATHS
from rerank_plugin.serving.problems import INTERNAL, Problem

ACCESS_LOG = "rerank_plugin.serving.access"
access_log = logging.getLogger(ACCESS_LOG)

# For load balancers, which have no key, and for browsers, which load the page before they are told one.
PUBLIC = frozenset(["/health", "/ready", "/ping"]) | SHELL_PATHS


class Gate:
    """
    The outermost application.

    :param app: The application within.
    :param keys: Who may use it.
    :param metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing, metrics: Metrics) -> None:
        self._app, self._keys, self._metrics = app, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        exchange = scope[KEY] = Exchange.begin(headers.get("x-request-id", ""))
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.request_id.encode())]
            await send(message)

        try:
            if scope["path"] in PUBLIC or self._keys.admits(key_of(headers)):
                await self._app(scope, receive, send_noting)
            else:
                exchange.error = "unauthorized"
                await problem_response(_UNAUTHORIZED)(scope, receive, send_noting)
        except Exception as error:  # noqa: BLE001 - told to the client
            exchange.error = type(error).__name__
            log_unexpected(error, exchange)
            if not status:
                await problem_response(INTERNAL)(scope, receive, send_noting)
        finally:
            self._note(scope, exchange, status or CLIENT_LEFT, time.perf_counter() - began)

    def _note(self, scope: Scope, exchange: Exchange, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        self._metrics.requests.labels(route, exchange.dialect, str(status)).inc()
        self._metrics.duration.labels(route).observe(seconds)
        line: dict[str, Any] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": exchange.request_id,
            "client": (scope.get("client") or ("-",))[0],
            "method": scope["method"],
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        }
        noted = {
            "dialect": None if exchange.dialect == "-" else exchange.dialect,
            "texts": exchange.texts,
            "tokens": exchange.tokens,
            "state": exchange.state,
            "error": exchange.error,
        }
        access_log.info(json.dumps(line | {name: value for name, value in noted.items() if value is not None}))


_UNAUTHORIZED = Problem(
    401, "unauthorized", "the key is missing or wrong: send one of the server's keys as `Authorization: Bearer KEY`"
)
