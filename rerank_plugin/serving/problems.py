"""What can go wrong with a request, in words of HTTP; the dialects put it into the shape that their clients read."""

from dataclasses import dataclass
from math import ceil

from rerank_plugin.errors import InvalidValueError, OverloadedError, RerankError


class RequestError(RerankError):
    """
    A request cannot be answered.

    :param message: What is wrong, where, and what to do about it.
    :param status: The HTTP status.
    :param kind: One of the keys of `KINDS`.
    :param param: The part of the request that is wrong, such as `documents`.
    """

    def __init__(self, message: str, *, status: int = 400, kind: str = "invalid", param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.param = status, kind, param


@dataclass(frozen=True)
class Problem:
    """
    An error, ready to be told to a client.

    :param status: The HTTP status.
    :param kind: One of `invalid`, `empty`, `unauthorized`, `forbidden`, `not_found`, `too_large`, `too_slow`, `overloaded`,
        `model`, `unavailable`, `internal`.
    :param message: What is wrong, where, and what to do about it.
    :param param: The part of the request that is wrong.
    :param retry_after: Whole seconds after which to try again.
    """

    status: int
    kind: str
    message: str
    param: str | None = None
    retry_after: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with it."""
        headers = {}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status in (408, 413):
            # What is left of the request is not read, so that nothing else can follow on this connection.
            headers["connection"] = "close"
        return headers


INTERNAL = Problem(500, "internal", "the request failed for a reason that is not its own: the log of the server has it")


def problem_of(error: Exception) -> Problem:
    """
    Return what to tell a client about an error.

    The message of an error that is not deliberate stays here: it may quote what others sent.

    :param error: The error.
    """
    if isinstance(error, RequestError):
        return Problem(error.status, error.kind, str(error), error.param)
    if isinstance(error, OverloadedError):
        return Problem(429, "overloaded", str(error), retry_after=max(1, ceil(error.retry_after)))
    if isinstance(error, InvalidValueError):
        return Problem(400, "invalid", str(error))
    if isinstance(error, RerankError):
        return Problem(500, "model", str(error))
    return INTERNAL
