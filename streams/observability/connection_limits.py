"""Limits for the connections of a web port, for any aiohttp server.

Without limits, a client that sends half a request keeps its connection for ever. Some hundred of them use up the
process's file descriptors. Then the health pages do not answer, and an orchestrator kills the process.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aiohttp.web import HTTPException, Request, StreamResponse, middleware

CONNECTION_SECONDS = 15.0
"""The longest time of a connection. Each serves one request, so this limits its head, its answer and idle time."""
MAX_CONNECTIONS = 100
"""The number of connections at a time. Another one closes the oldest."""
BACKLOG = 32
"""Connections that the system accepts before the server does."""
_SHARE_OF_DESCRIPTORS = 8
"""The connections take at most one in so many of the process's file descriptors."""

_Handler: TypeAlias = Callable[[Request], Awaitable[StreamResponse]]


class ConnectionLimits:
    """Creates the protocols of accepted connections. Each ends after a while, and the oldest if there are too many."""

    def __init__(self, make: Callable[[], asyncio.Protocol], limit: int, seconds: float) -> None:
        """Keep the limits.

        Args:
            make: Creates the protocol that handles a connection.
            limit: The number of connections at a time.
            seconds: The longest time of a connection.
        """
        self._make = make
        self._limit = limit
        self.seconds = seconds
        self._open: dict[_Connection, asyncio.Transport] = {}

    def __call__(self) -> "asyncio.Protocol":
        """Return the protocol of one connection."""
        return _Connection(self._make(), self)

    def opened(self, connection: "_Connection", transport: asyncio.Transport) -> None:
        """Count a connection."""
        if len(self._open) >= self._limit:
            oldest = next(iter(self._open))
            self._open.pop(oldest).abort()
        self._open[connection] = transport

    def closed(self, connection: "_Connection") -> None:
        """Forget a connection."""
        self._open.pop(connection, None)


class _Connection(asyncio.Protocol):
    """One connection. Passes everything on to the protocol that handles it."""

    def __init__(self, handler: asyncio.Protocol, limits: ConnectionLimits) -> None:
        self._handler = handler
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream server
        self._limits.opened(self, transport)
        self._timer = asyncio.get_running_loop().call_later(self._limits.seconds, transport.abort)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received()

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._limits.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        self._handler.connection_lost(exc)


def connection_limit() -> int:
    """Return the number of connections that this process may have at a time."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, descriptors // _SHARE_OF_DESCRIPTORS))


@middleware
async def close_after_response(request: Request, handler: _Handler) -> StreamResponse:
    """Answer one request per connection."""
    try:
        response = await handler(request)
    except HTTPException as error:
        error.force_close()
        raise
    response.force_close()
    return response
