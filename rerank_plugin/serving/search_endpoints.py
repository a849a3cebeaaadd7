"""`POST /search` and `GET /documents/{id}`."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin.serving.body import BodyReader, ClientLeftError, validated
from rerank_plugin.serving.exchange import CLIENT_LEFT, exchange_of, json_response, log_unexpected, problem_response
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.problems import INTERNAL, problem_of
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
        except ClientLeftError:
            self.metrics.left.inc()
            return Response(status_code=CLIENT_LEFT)
        except Exception as error:  # noqa: BLE001 - told to the client
            return self._problem(request, error)
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
            return self._problem(request, error)

    def _problem(self, request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        exchange = exchange_of(request)
        exchange.error = problem.kind
        if problem is INTERNAL:
            log_unexpected(error, exchange)
        if problem.kind == "overloaded":
            self.metrics.rejected.inc()
        return problem_response(problem)
