"""A request and its answer: what the parts of the server note of it for the log, the metrics and the headers."""

import logging
import re
import traceback
import uuid
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from rerank_plugin.serving.dialects.dialect import Outcome, error_body
from rerank_plugin.serving.problems import Problem

logger = logging.getLogger(__name__)

KEY = "rerank_plugin.exchange"
CLIENT_LEFT = 499
# Of an error that was not expected, only places in the code are logged: messages may quote texts.
_FRAMES = 12
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass
class Exchange:
    """
    What is known of a request so far.

    :ivar request_id: From the header `X-Request-Id`, or new.
    :ivar dialect: The protocol.
    :ivar texts: Number of texts to rank.
    :ivar tokens: Their tokens.
    :ivar state: How the result was produced.
    :ivar error: The kind of the problem, or the type of the error.
    """

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    dialect: str = "-"
    texts: int | None = None
    tokens: int | None = None
    state: str | None = None
    error: str | None = None

    @classmethod
    def begin(cls, given_id: str) -> "Exchange":
        """Begin with the id that a client gave, if it can be one."""
        return cls(given_id) if _REQUEST_ID.fullmatch(given_id) else cls()


def exchange_of(request: Request) -> Exchange:
    """Return the exchange that a request belongs to."""
    exchange: Exchange = request.scope[KEY]
    return exchange


def json_response(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return plain values as an answer."""
    body = to_json(value, inf_nan_mode="null")
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def problem_response(problem: Problem) -> Response:
    """Return an error in the shape that most clients read."""
    return json_response(error_body(problem), status=problem.status, headers=problem.headers)


def outcome_headers(outcome: Outcome, *, seconds: float, characters: int) -> dict[str, str]:
    """
    Return the headers of a result: TEI's timings, in milliseconds, and how it was produced.

    :param outcome: The result.
    :param seconds: Time since the request arrived.
    :param characters: Characters of the texts.
    """
    timings = [result.timings for result in outcome.results]
    headers = {
        "x-compute-time": _milliseconds(sum(t.tokenization + t.inference for t in timings)),
        "x-compute-characters": str(characters),
        "x-compute-tokens": str(outcome.tokens),
        "x-total-time": _milliseconds(seconds),
        "x-tokenization-time": _milliseconds(sum(t.tokenization for t in timings)),
        "x-queue-time": _milliseconds(max(t.queue for t in timings)),
        "x-inference-time": _milliseconds(sum(t.inference for t in timings)),
        "x-rerank-state": outcome.state,
    }
    if outcome.warnings:
        headers["x-rerank-warnings"] = "; ".join(outcome.warnings)
    return headers


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def log_unexpected(error: Exception, exchange: Exchange) -> None:
    """Log an error that nobody expected: its type, and where in the code it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " <- ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    logger.error("request %s failed: %s at %s", exchange.request_id, type(error).__name__, places)
