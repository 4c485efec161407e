"""A connection pooler in transaction mode, as strict as PgBouncer: the next transaction gets another server connection.

It refuses the startup parameter `options`, and clients get a process id that the server does not know.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from tests.support.proxies.proxy import serving

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
STARTUP, SSL_REQUEST, GSS_REQUEST = 196_608, 80_877_103, 80_877_104
FAKE_PID = 4_242_424
PARAMETERS = ("server_version", "server_encoding", "client_encoding", "DateStyle", "TimeZone", "integer_datetimes")
LAST_OF_REQUEST = b"QS"
"""The types of messages that the server answers with ReadyForQuery: a simple query and a sync."""


@contextmanager
def transaction_pooler(url: str, servers: int = 3) -> Iterator[str]:
    """Pool the connections to a database for the duration of the block. Yields the URL of the pooler.

    Args:
        url: The URL of the database, `postgresql://…`.
        servers: The number of connections to the server, used in turn.
    """
    connections = [psycopg.connect(url, autocommit=True) for _ in range(servers)]
    try:
        with serving(lambda: asyncio.start_server(_Pooler(connections).serve, "127.0.0.1")) as port:
            info = connections[0].info
            yield f"postgresql://{info.user}@127.0.0.1:{port}/{info.dbname}"
    finally:
        for connection in connections:
            connection.close()


class _Pooler:
    """Serves the clients. libpq has opened the server connections; their sockets are used directly."""

    def __init__(self, connections: list[psycopg.Connection]) -> None:
        self._connections = connections
        self._idle: asyncio.Queue[Streams] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            if await self._start(reader, writer):
                await self._run(reader, writer, await self._servers())
        writer.close()

    async def _servers(self) -> asyncio.Queue[Streams]:
        if self._idle is None:
            self._idle = asyncio.Queue()
            for connection in self._connections:
                own = socket.socket(fileno=os.dup(connection.pgconn.socket))
                self._idle.put_nowait(await asyncio.open_connection(sock=own))
        return self._idle

    async def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer the startup messages; False: the client is refused."""
        while True:
            length, code = struct.unpack("!ii", await reader.readexactly(8))
            body = await reader.readexactly(length - 8)
            if code in {SSL_REQUEST, GSS_REQUEST}:
                writer.write(b"N")
                continue
            if code != STARTUP:
                return False
            if b"options" in body.split(b"\0")[::2]:
                text = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0"
                writer.write(_message(b"E", text))
                await writer.drain()
                return False
            writer.write(_message(b"R", struct.pack("!i", 0)))
            for name in PARAMETERS:
                value = self._connections[0].pgconn.parameter_status(name.encode()) or b""
                writer.write(_message(b"S", name.encode() + b"\0" + value + b"\0"))
            writer.write(_message(b"K", struct.pack("!ii", FAKE_PID, 0)) + _message(b"Z", b"I"))
            return True

    async def _run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: asyncio.Queue[Streams]
    ) -> None:
        """Pass each transaction of a client to the server connection that was idle for the longest time."""
        while True:
            kind, message = await _read(reader)
            if kind == b"X":
                return
            server = await idle.get()
            try:
                while True:
                    server[1].write(message)
                    if kind in LAST_OF_REQUEST and await _answer(server[0], writer) == b"I":
                        break
                    kind, message = await _read(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                server[1].write(_message(b"Q", b"rollback\0"))
                await _answer(server[0], None)
                raise
            finally:
                idle.put_nowait(server)


async def _answer(server: asyncio.StreamReader, client: asyncio.StreamWriter | None) -> bytes:
    """Pass an answer to the client. Returns the state of the transaction: I is idle."""
    while True:
        kind, message = await _read(server)
        if client is not None:
            client.write(message)
        if kind == b"Z":
            return message[-1:]


async def _read(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the type of the next message, and the whole message."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body
