"""Telling a client that its request failed, the same way for every endpoint that is not a protocol of others."""

from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin.serving.body import ClientLeftError
from rerank_plugin.serving.exchange import CLIENT_LEFT, exchange_of, log_unexpected, problem_response
from rerank_plugin.serving.metrics import Metrics
from rerank_plugin.serving.problems import INTERNAL, problem_of


def failure_response(request: Request, error: Exception, metrics: Metrics) -> Response:
    """
    Return the answer to a request that failed, note it in the exchange, and count it.

    :param request: The request.
    :param error: What went wrong.
    :param metrics: Where clients that left and refused requests are counted.
    """
    if isinstance(error, ClientLeftError):
        metrics.left.inc()
        return Response(status_code=CLIENT_LEFT)
    problem = problem_of(error)
    exchange = exchange_of(request)
    exchange.error = problem.kind
    if problem is INTERNAL:
        log_unexpected(error, exchange)
    if problem.kind == "overloaded":
        metrics.rejected.inc()
    return problem_response(problem)
