"""The parts of Faust that the transport uses beyond its public interface, checked for the pinned version.

If one of these tests fails after an upgrade of Faust, read `streams/transport` again before changing the pin. The
private names are `Conductor._acking_topics` and `Consumer._unacked_messages`. A chunk must reach an agent unchanged.
"""

import asyncio
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import pytest
from faust import streams as faust_streams
from faust import transport
from faust.types import StreamT
from yarl import URL

from streams.settings import Settings
from streams.transport.faust.app import StreamsApp
from streams.transport.faust.conductor import Conductor
from streams.transport.faust.consumer import Consumer
from streams.transport.faust.driver import Transport
from streams.transport.faust.producer import FaustProducer
from streams.transport.kafka.errors import NotSupportedError
from streams.transport.kafka.group import Group
from streams.transport.kafka.records import Assignment, Chunk, Record

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


class Watched:
    """Replaces any object and records which attributes are read from it."""

    def __init__(self, **known: object) -> None:
        self.known = known
        self.read: set[str] = set()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - it stands for anything
        if name.startswith("__"):
            raise AttributeError(name)
        self.read.add(name)
        return self.known.get(name, len)

    @property
    def private(self) -> set[str]:
        return {name for name in self.read if name.startswith("_")}


def app_of_tests() -> StreamsApp:
    return StreamsApp(Settings(), groups=(Group("high", "g", ("t",)),))


@pytest.fixture
def app() -> StreamsApp:
    return app_of_tests()


def chunk(topic: str) -> Chunk:
    assignment = Assignment(topic, 0)
    found = [Record(topic, 0, offset, 0, "CreateTime", None, b"x", ()) for offset in range(3)]
    assignment.deliver(found)
    return Chunk(assignment, found)


@pytest.mark.requirement("Transport", "private names of Faust are held to the pinned version")
@pytest.mark.parametrize("package", ["faust-streaming", "mode-streaming"])
def test_the_installed_version_is_the_pinned_one(package: str) -> None:
    pinned = re.search(rf'"{package}==([^"]+)"', PROJECT.read_text())
    assert pinned is not None
    assert version(package) == pinned[1]


def test_the_entry_point_gives_the_transport() -> None:
    assert transport.by_url(URL("librdkafka://somewhere:9092")) is Transport


@pytest.mark.requirement("Transport", "private names of Faust are held to the pinned version")
def test_the_compiled_stream_iterator_reads_two_private_names() -> None:
    """Any other name would be missing in our consumer and conductor."""
    compiled: Any = vars(faust_streams)["_CStreamIterator"]
    assert compiled is not None
    topics = Watched()
    consumer = Watched(_unacked_messages=set())
    app = app_of_tests()
    watched = Watched(topics=topics, consumer=consumer, conf=app.conf)
    compiled(Watched(app=watched, channel=app.topic("t").clone(is_iterator=True)))
    assert topics.private == {"_acking_topics"}
    assert consumer.private == {"_unacked_messages"}


def test_nothing_abstract_is_left(app: StreamsApp) -> None:
    for part in (Transport, Conductor, Consumer, FaustProducer):
        assert not getattr(part, "__abstractmethods__", frozenset())
    assert isinstance(app.topics, Conductor)
    assert isinstance(app.transport, Transport)


async def test_a_worker_starts_these_services_and_no_others(app: StreamsApp) -> None:
    """No leader election, no replies, no tables: their services would need Faust's own consumer."""
    names = [type(service).__name__ for service in app.boot_strategy.server()]
    assert sorted(names) == ["AgentManager", "CacheBackend", "Conductor", "Consumer", "FaustProducer", "StreamsWeb"]


async def test_an_agents_stream_yields_the_chunk_itself_and_settles_nothing(app: StreamsApp) -> None:
    given = chunk("t")
    got: asyncio.Queue[Chunk] = asyncio.Queue()

    async def read() -> None:
        async for one in app.stream(app.topic("t")):
            await got.put(one)

    assert isinstance(app.consumer, Consumer)
    assert isinstance(app.topics, Conductor)
    await app.consumer.on_start()
    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(5):
            while not len(app.topics):  # noqa: ASYNC110 - Faust's set has no event
                await asyncio.sleep(0)
            app.topics.put_chunk(given)
            app.topics.put_chunk(chunk("t"))
            assert await got.get() is given
            await got.get()
    finally:
        reading.cancel()
        await asyncio.wait([reading])
    assert given.assignment.unsettled == 3
    assert app.consumer_generation_id == 0


async def test_two_readers_of_one_topic_are_refused(app: StreamsApp) -> None:
    aiter(app.topic("t"))
    with pytest.raises(NotSupportedError, match="use one agent per topic"):
        aiter(app.topic("t"))


@pytest.mark.requirement("Transport", "what is not there is refused with a line")
async def test_tables_and_replies_are_refused_with_a_line(app: StreamsApp) -> None:
    @app.agent(app.topic("t"))
    async def read(stream: StreamT[Chunk]) -> None:
        async for _ in stream:
            pass

    for make in (app.Table, app.GlobalTable, app.SetTable, app.SetGlobalTable):
        with pytest.raises(NotSupportedError, match="tables are not supported"):
            make("words")
    with pytest.raises(NotSupportedError, match="no replies"):
        await read.ask("a question")
    with pytest.raises(NotSupportedError, match="no replies"):
        await read.join(["a", "b"])
    with pytest.raises(NotSupportedError, match="no replies"):
        await app.start_client()
    with pytest.raises(NotSupportedError, match="streams topics apply"):
        await app.producer.create_topic("words", 1, 1)


def test_another_app_is_told_what_the_transport_needs() -> None:
    plain = faust.App("plain", broker="librdkafka://somewhere:9092", autodiscover=False)
    with pytest.raises(NotSupportedError, match="StreamsApp"):
        Transport([URL("librdkafka://somewhere:9092")], plain)
