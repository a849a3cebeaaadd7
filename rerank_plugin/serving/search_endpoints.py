"""`POST /search` and `GET /documents/{id}`."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin.serving.body import BodyReader, validated
from rerank_plugin.serving.exchange import exchange_of, json_response
from rerank_plugin.serving.failures import failure_response
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.rerank_endpoint import unless_client_left
from rerank_plugin.serving.search_service import SearchBody, SearchService


@dataclass(frozen=True)
class SearchEndpoints:
    """
    The endpoints of an index.

    :param service: Runs the searches.
    :param bodies: Reads requests.
    :param metrics: Where answers are counted.
    """

    service: SearchService
    bodies: BodyReader
    metrics: Metrics

    async def search(self, request: Request) -> Response:
        """Search the index."""
        exchange = exchange_of(request)
        exchange.dialect = "search"
        try:
            async with self.bodies.json(request) as data:
                work = self.service.search(validated(SearchBody, data))
                found: dict[str, Any] = await unless_client_left(request, work)
        except Exception as error:  # noqa: BLE001 - told to the client
            return failure_response(request, error, self.metrics)
        state = (found["status"] or {}).get("state", "complete")
        exchange.state = state
        if state != "complete":
            self.metrics.degraded.labels(state).inc()
        return json_response(found, headers={"x-rerank-state": state})

    async def document(self, request: Request) -> Response:
        """Return a document by its id."""
        try:
            return json_response(await self.service.document(request.path_params["document_id"]))
        except Exception as error:  # noqa: BLE001 - told to the client
            return failure_response(request, error, self.metrics)
