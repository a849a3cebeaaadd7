"""The way of a rerank request: read, understand, rank, answer."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin.serving.body import BodyReader, ClientLeftError, validated
from rerank_plugin.serving.dialects.dialect import Call, Dialect, Outcome, error_body
from rerank_plugin.serving.dialects.routes import dialect_of
from rerank_plugin.serving.engine import RankRequest, RankResult
from rerank_plugin.serving.exchange import CLIENT_LEFT, exchange_of, json_response, log_unexpected, outcome_headers
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.models import ServedModel, ServedModels
from rerank_plugin.serving.problems import INTERNAL, RequestError, problem_of
from rerank_plugin.serving.settings import RequestLimits
from rerank_plugin.serving.spans import relevant_spans
from rerank_plugin.serving.tracing import Tracer

T = TypeVar("T")
# Queries of one call that wait at the same time.
RANKED_AT_ONCE = 8


@dataclass(frozen=True)
class RerankEndpoint:
    """
    Answers the rerank requests of all protocols.

    :param models: The models.
    :param bodies: Reads requests.
    :param metrics: Where answers are counted.
    :param tracer: Where requests are traced.
    """

    models: ServedModels
    bodies: BodyReader
    metrics: Metrics
    tracer: Tracer

    async def __call__(self, request: Request) -> Response:
        """Answer a request."""
        began = time.perf_counter()
        exchange = exchange_of(request)
        dialect: Dialect[Any] | None = None
        try:
            async with self.bodies.json(request) as data:
                dialect = dialect_of(request.url.path, data, request.headers)
                exchange.dialect = dialect.name
                return await self._answer(request, dialect, data, began)
        except ClientLeftError:
            self.metrics.left.inc()
            return Response(status_code=CLIENT_LEFT)
        except Exception as error:  # noqa: BLE001 - told to the client
            problem = problem_of(error)
            exchange.error = problem.kind
            if problem is INTERNAL:
                log_unexpected(error, exchange)
            if problem.kind == "overloaded":
                self.metrics.rejected.inc()
            status, body = (problem.status, error_body(problem)) if dialect is None else dialect.error(problem)
            return json_response(body, status=status, headers=problem.headers)

    async def _answer(self, request: Request, dialect: Dialect[Any], data: dict[str, Any], began: float) -> Response:
        exchange = exchange_of(request)
        with self.tracer.request(dialect.name, request.headers) as span:
            body = validated(dialect.body, data)
            call = dialect.call(body)
            exchange.texts = texts = check_size(call, self.bodies.limits)
            served = self.models.get(body.model)
            outcome = await unless_client_left(request, _outcome(served, call, exchange.request_id))
            span.record(outcome, texts=texts, top_n=call.requests[0].top_n)
        exchange.tokens, exchange.state = outcome.tokens, outcome.state
        self.metrics.record(outcome, texts)
        characters = sum(len(text) for ranking in call.requests for text in ranking.texts)
        headers = outcome_headers(outcome, seconds=time.perf_counter() - began, characters=characters)
        return json_response(dialect.answer(body, outcome), headers=headers)


def check_size(call: Call, limits: RequestLimits) -> int:
    """
    Count the texts of a call.

    :param call: The call.
    :param limits: The limits of the server.
    :returns: Their number.
    :raises RequestError: If there are none, or too many.
    """
    texts = sum(len(request.texts) for request in call.requests)
    if not texts:
        raise RequestError("there are no documents: send at least one", kind="empty", param="documents")
    if texts > limits.documents:
        raise RequestError(
            f"there are {texts} documents, and this server takes {limits.documents} at once: send them in several requests",
            param="documents",
        )
    return texts


async def _outcome(served: ServedModel, call: Call, request_id: str) -> Outcome:
    results = [await served.engine.rank(call.requests[0])] if len(call.requests) == 1 else await _all(served, call)
    spans: Mapping[int, Any] = {}
    if call.spans is not None:
        spans = await relevant_spans(served.engine, call.requests[0], results[0].ranked, call.spans)
    return Outcome(results, served.name, request_id, spans)


async def _all(served: ServedModel, call: Call) -> list[RankResult]:
    free = asyncio.Semaphore(RANKED_AT_ONCE)

    async def rank(request: RankRequest) -> RankResult:
        async with free:
            return await served.engine.rank(request)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(rank(request)) for request in call.requests]
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    return [task.result() for task in tasks]


async def unless_client_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """
    Do some work as long as the client waits for it.

    :param request: The request, whose body was read.
    :param work: The work; it is cancelled when the client closes the connection.
    :returns: Its result.
    :raises ClientLeftError: If the client left.
    """
    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(_has_left(request))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeftError
        return task.result()
    finally:
        for unfinished in (task, watcher):
            unfinished.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


async def _has_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
