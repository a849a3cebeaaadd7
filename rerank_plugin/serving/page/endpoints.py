"""The endpoints of the page: each reads its request, asks the part that answers it, and tells what went wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rerank_plugin.serving.body import BodyReader, validated
from rerank_plugin.serving.exchange import json_response
from rerank_plugin.serving.failures import failure_response
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.models import ServedModels
from rerank_plugin.serving.page.guard import SECURITY_HEADERS
from rerank_plugin.serving.page.parts import PageParts
from rerank_plugin.serving.rerank_endpoint import unless_client_left

M = TypeVar("M", bound=BaseModel)
# Where the judgements of an index are, if the server keeps any.
JUDGEMENTS = "/judgements/"


class PageEndpoints:
    """
    Answers the page.

    :param parts: What the page can do with the index; `None`: there is no index.
    :param models: The models of the server.
    :param bodies: Reads requests.
    :param metrics: Where failures are counted.
    """

    def __init__(self, parts: PageParts | None, models: ServedModels, bodies: BodyReader, metrics: Metrics) -> None:
        self._parts, self._models, self._bodies, self._metrics = parts, models, bodies, metrics

    async def settings(self, request: Request) -> Response:
        """Return what the page can do, and with which pipelines and models."""

        async def read() -> dict[str, Any]:
            shared = {"models": self._models.names, "max_documents": self._bodies.limits.documents}
            if self._parts is None:
                return {**shared, "index": None, "pipelines": [], "judging": False, "upload": None, "chat": None}
            judging = any(getattr(route, "path", "").startswith(JUDGEMENTS) for route in request.app.routes)
            return {**shared, "judging": judging, **await self._parts.description()}

        return await self._answer(request, read)

    def posting(self, shape: type[M], work: Callable[[M], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        """
        Return an endpoint that takes JSON and answers with JSON.

        :param shape: The shape of the request.
        :param work: Answers it.
        """

        async def endpoint(request: Request) -> Response:
            try:
                async with self._bodies.json(request) as data:
                    found = await unless_client_left(request, _awaited(work(validated(shape, data))))
            except Exception as error:  # noqa: BLE001 - told to the client
                return failure_response(request, error, self._metrics)
            return json_response(found, headers=SECURITY_HEADERS)

        return endpoint

    def streaming(
        self, shape: type[M], work: Callable[[M], Awaitable[AsyncIterator[bytes]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """
        Return an endpoint that takes JSON and answers with lines of JSON as they come.

        :param shape: The shape of the request.
        :param work: Begins to answer it.
        """

        async def endpoint(request: Request) -> Response:
            try:
                async with self._bodies.json(request) as data:
                    body = validated(shape, data)
                lines = await work(body)
            except Exception as error:  # noqa: BLE001 - told to the client
                return failure_response(request, error, self._metrics)
            return StreamingResponse(lines, media_type="application/x-ndjson", headers=SECURITY_HEADERS)

        return endpoint

    def getting(self, work: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        """
        Return an endpoint that answers with JSON, or with what `work` makes.

        :param work: Answers a request.
        """

        async def endpoint(request: Request) -> Response:
            return await self._answer(request, lambda: work(request))

        return endpoint

    async def _answer(self, request: Request, work: Callable[[], Awaitable[Any]]) -> Response:
        try:
            found = await work()
        except Exception as error:  # noqa: BLE001 - told to the client
            return failure_response(request, error, self._metrics)
        return found if isinstance(found, Response) else json_response(found, headers=SECURITY_HEADERS)


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work
