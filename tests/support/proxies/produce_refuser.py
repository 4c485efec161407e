"""A TCP proxy for Kafka that lets a broker refuse the first request for a topic, as one that does not know it yet."""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.proxies.proxy import run_pumps, serving

PRODUCE = 0
"""The key of Produce requests in Kafka's protocol."""
HOST = "127.0.0.1"


@dataclass
class ProduceRefuser:
    """Renames the topic in its first Produce request, and back in the response. So the broker refuses that request.

    The broker's address in responses becomes the one of the proxy: otherwise the client would go past it.
    """

    server_port: int
    topic: bytes
    port: int = 0
    """The port of the proxy."""
    refused: int | None = None
    """The correlation id of the refused request. None: there was none yet."""
    unknown: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.unknown = self.topic.swapcase()

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        server, to_server = await asyncio.open_connection(HOST, self.server_port)
        requests, responses = _pump(client, to_server, self._request), _pump(server, to_client, self._response)
        await run_pumps(requests, responses, writers=(to_server, to_client))

    def _request(self, frame: bytes) -> bytes:
        key, _, correlation = struct.unpack_from(">hhi", frame)
        if key != PRODUCE or self.refused is not None or self.topic not in frame:
            return frame
        self.refused = correlation
        return frame.replace(self.topic, self.unknown, 1)

    def _response(self, frame: bytes) -> bytes:
        if struct.unpack_from(">i", frame)[0] == self.refused and self.unknown in frame:
            return frame.replace(self.unknown, self.topic, 1)
        own, proxy = (HOST.encode() + struct.pack(">i", port) for port in (self.server_port, self.port))
        return frame.replace(own, proxy)


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, change: Callable[[bytes], bytes]) -> None:
    """Pass on frames: four bytes with their length, then the frame. A change keeps the length."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):  # the connection ends
        while True:
            size = await source.readexactly(4)
            frame = change(await source.readexactly(struct.unpack(">i", size)[0]))
            target.write(size + frame)
            await target.drain()


@contextmanager
def refused_first(kafka: str, topic: str) -> Iterator[tuple[ProduceRefuser, str]]:
    """Run a proxy for the duration of the block. Yields it with the address of Kafka through it.

    Args:
        kafka: The address of the only broker.
        topic: The topic, whose first Produce request is refused.
    """
    refuser = ProduceRefuser(int(kafka.rpartition(":")[2]), topic.encode())
    with serving(lambda: asyncio.start_server(refuser.serve, HOST, 0)) as port:
        refuser.port = port
        yield refuser, f"{HOST}:{port}"
