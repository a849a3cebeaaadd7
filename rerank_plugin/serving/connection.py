"""A connection that is cut off if the head of a request does not arrive in time. Uvicorn by itself waits for ever."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class DeadlineConnection(H11Protocol):
    """
    A connection with a deadline for the head of each request.

    :cvar header_seconds: From the opening of the connection, or the first byte of the head, to its end.
    """

    header_seconds = 10.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read data."""
        super().data_received(data)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        """Set the deadline once when a head begins, and drop it when it has arrived."""
        if self.conn.their_state is not h11.IDLE or self._is_between_requests():
            self._forget_deadline()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.header_seconds, self._cut_off)

    def _is_between_requests(self) -> bool:
        # Then uvicorn's own limit for idle connections holds.
        return self.cycle is not None and not self.conn.trailing_data[0]

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut_off(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def connection_class(header_seconds: float) -> Any:
    """
    Return the class of connections for a server.

    :param header_seconds: See `DeadlineConnection`.
    """
    return type("Connection", (DeadlineConnection,), {"header_seconds": header_seconds})
