"""TCP proxies for Kafka that change single requests and responses, so that a broker seems to refuse them."""

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.proxies.proxy import run_pumps, serving

HOST = "127.0.0.1"
PRODUCE = 0
INIT_PRODUCER_ID = 22
"""Keys of requests in Kafka's protocol."""
CLUSTER_AUTHORIZATION_FAILED = 31


@dataclass
class KafkaProxy:
    """Passes on the requests and responses of one broker.

    The broker's address in responses becomes the one of the proxy: otherwise the client would go past it.
    """

    server_port: int
    port: int = 0
    """The port of the proxy."""

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        server, to_server = await asyncio.open_connection(HOST, self.server_port)
        requests, responses = _pump(client, to_server, self.request), _pump(server, to_client, self.response)
        await run_pumps(requests, responses, writers=(to_server, to_client))

    def request(self, frame: bytes) -> bytes:
        """Return what the broker gets in place of a request, with the same length."""
        return frame

    def response(self, frame: bytes) -> bytes:
        """Return what the client gets in place of a response, with the same length."""
        own, proxy = (HOST.encode() + struct.pack(">i", port) for port in (self.server_port, self.port))
        return frame.replace(own, proxy)


@dataclass
class ProduceRefuser(KafkaProxy):
    """Lets the broker refuse the first Produce request for a topic, as one that does not know the topic yet.

    It renames the topic in that request, and back in the response.
    """

    topic: bytes = b""
    refused: int | None = None
    """The correlation id of the refused request. None: there was none yet."""
    unknown: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.unknown = self.topic.swapcase()

    def request(self, frame: bytes) -> bytes:
        """Rename the topic in the first Produce request."""
        key, _, correlation = struct.unpack_from(">hhi", frame)
        if key != PRODUCE or self.refused is not None or self.topic not in frame:
            return frame
        self.refused = correlation
        return frame.replace(self.topic, self.unknown, 1)

    def response(self, frame: bytes) -> bytes:
        """Give the topic its name again in the response to that request."""
        if struct.unpack_from(">i", frame)[0] == self.refused and self.unknown in frame:
            return frame.replace(self.unknown, self.topic, 1)
        return super().response(frame)


@dataclass
class ProducerIdRefuser(KafkaProxy):
    """Refuses ids to idempotent producers, as a broker does to an account without a right to write to any topic."""

    refusing: bool = True
    refused: int = 0
    """The number of refused requests."""
    _asked: set[int] = field(default_factory=set)
    """The correlation ids of the requests that have no response yet."""

    SIZE = 22
    """The bytes of a response from version 2 on: header 5, throttle time 4, error 2, id 8, epoch 2, no tags 1."""
    ERROR_AT = 9

    def request(self, frame: bytes) -> bytes:
        """Note a request for an id."""
        key, _, correlation = struct.unpack_from(">hhi", frame)
        if key == INIT_PRODUCER_ID:
            self._asked.add(correlation)
        return frame

    def response(self, frame: bytes) -> bytes:
        """Put an error into the response to such a request."""
        correlation = struct.unpack_from(">i", frame)[0]
        if len(frame) != self.SIZE or correlation not in self._asked:
            return super().response(frame)
        self._asked.discard(correlation)
        if not self.refusing:
            return frame
        self.refused += 1
        return frame[: self.ERROR_AT] + struct.pack(">hqh", CLUSTER_AUTHORIZATION_FAILED, -1, -1) + frame[-1:]


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
    refuser = ProduceRefuser(_port(kafka), topic=topic.encode())
    with _running(refuser) as address:
        yield refuser, address


@contextmanager
def refused_producer_ids(kafka: str) -> Iterator[tuple[ProducerIdRefuser, str]]:
    """Run a proxy for the duration of the block. Yields it with the address of Kafka, the only broker, through it."""
    refuser = ProducerIdRefuser(_port(kafka))
    with _running(refuser) as address:
        yield refuser, address


def _port(kafka: str) -> int:
    return int(kafka.rpartition(":")[2])


@contextmanager
def _running(proxy: KafkaProxy) -> Iterator[str]:
    with serving(lambda: asyncio.start_server(proxy.serve, HOST, 0)) as port:
        proxy.port = port
        yield f"{HOST}:{port}"
