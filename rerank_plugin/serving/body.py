"""Reading the body of a request within its limits, and what JSON it has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from rerank_plugin.errors import OverloadedError
from rerank_plugin.serving.problems import RequestError
from rerank_plugin.serving.settings import RequestLimits

# A body that is too large is read on, and thrown away, up to so many times the limit: a client that is cut off while it
# still sends does not see the answer.
DISCARDED = 4
# All bodies together may be as large as so many of the largest.
LARGEST_BODIES_HELD = 20

M = TypeVar("M", bound=BaseModel)


class BodyReader:
    """
    Reads bodies, and bounds how much of them is held at the same time, by requests that wait as by those that arrive.

    :param limits: The limits of a request.
    :ivar held: Bytes that are held now.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self.limits = limits
        self.held = 0

    @asynccontextmanager
    async def json(self, request: Request) -> AsyncIterator[dict[str, Any]]:
        """
        Read the body of a request, which must be a JSON object. Its media type does not matter: not all clients send it.

        :param request: The request, which counts as held until the `with` block ends.
        :raises RequestError: If it is too large, too slow, or not a JSON object.
        :raises OverloadedError: If others are held already.
        :raises ClientLeftError: If the client closes the connection.
        """
        chunks: list[bytes] = []
        try:
            await self._read(request, chunks)
            yield _parsed(b"".join(chunks))
        finally:
            self.held -= sum(map(len, chunks))

    async def _read(self, request: Request, chunks: list[bytes]) -> None:
        limits = self.limits
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > DISCARDED * limits.body_bytes:
            raise _too_large(limits)
        size = 0
        try:
            async with asyncio.timeout(limits.body_seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size <= limits.body_bytes:
                        self._hold(chunk, chunks)
                    elif size > DISCARDED * limits.body_bytes:
                        break
        except TimeoutError:
            if size <= limits.body_bytes:
                raise _too_slow(limits) from None
        except ClientDisconnect:
            raise ClientLeftError from None
        if size > limits.body_bytes:
            raise _too_large(limits)

    def _hold(self, chunk: bytes, chunks: list[bytes]) -> None:
        if self.held + len(chunk) > LARGEST_BODIES_HELD * self.limits.body_bytes:
            raise OverloadedError(
                f"requests of {self.held} bytes are waiting already: try again after the time in Retry-After",
                retry_after=1.0,
            )
        self.held += len(chunk)
        chunks.append(chunk)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:  # the message has the place, and nothing of the text
        raise RequestError(f"the body is not JSON in UTF-8: {error}") from None
    if not isinstance(value, dict):
        raise RequestError(f"the body must be a JSON object, got {type(value).__name__}")
    return value


def _too_slow(limits: RequestLimits) -> RequestError:
    return RequestError(
        f"the body did not arrive within {limits.body_seconds:g} seconds: send less, or from nearer",
        status=408,
        kind="too_slow",
    )


def _too_large(limits: RequestLimits) -> RequestError:
    return RequestError(
        f"the body is larger than {limits.body_bytes} bytes: send fewer or shorter documents", status=413, kind="too_large"
    )


class ClientLeftError(Exception):
    """The client closed the connection before it had an answer."""


def validated(model: type[M], data: dict[str, Any]) -> M:
    """
    Check the shape of a request.

    :param model: The shape.
    :param data: The request.
    :raises RequestError: If it has another one. The message names the first place that is wrong, and quotes nothing.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first, *others = error.errors(include_url=False, include_context=False, include_input=False)
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
        more = f" (and {len(others)} more places)" if others else ""
        raise RequestError(f"{place or 'the body'}: {first['msg']}{more}", param=place or None) from None
    except RecursionError:
        raise RequestError("the body is nested too deeply") from None
