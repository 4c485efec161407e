"""What keeps a Faust app from starting, and what ends it: each is one line, and never a worker that only waits."""

import asyncio
import logging

import pytest
from faust.types import StreamT

from streams.settings import Settings
from streams.transport.faust import conductor
from streams.transport.faust.app import StreamsApp
from streams.transport.faust.conductor import Conductor
from streams.transport.kafka.errors import StartError, TransportError
from streams.transport.kafka.group import Group
from streams.transport.kafka.records import Assignment, Chunk, Record

GROUPS = (Group("high", "g", ("t",)),)


async def read(stream: StreamT[Chunk]) -> None:
    """An agent."""
    async for _ in stream:
        pass


async def test_an_agent_with_isolated_partitions_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """Faust would run one actor a partition beside the order that the delivery keeps."""
    app = StreamsApp(Settings(), web_enabled=False)
    app.agent(app.topic("t"), name="apart", isolated_partitions=True)(read)
    with pytest.raises(SystemExit) as ended:
        await app.on_first_start()
    assert ended.value.code == 1
    assert "agent apart: isolated_partitions is not supported" in caplog.text


async def test_groups_without_a_listener_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    app = StreamsApp(Settings(), groups=GROUPS, web_enabled=False)
    app.agent(app.topic("t"))(read)
    with pytest.raises(SystemExit):
        await app.on_first_start()
    assert "no listener" in caplog.text


async def test_without_web_pages_no_port_is_asked_for() -> None:
    """The other checks alone decide; here one that stands in front of the brokers'."""
    app = StreamsApp(Settings(web_port=1), web_enabled=False)

    async def stop_here() -> None:
        raise StartError("reached")

    app.checks[-1] = stop_here
    with pytest.raises(SystemExit):
        await app.on_first_start()


def a_chunk(topic: str) -> Chunk:
    assignment = Assignment(topic, 0)
    records = [Record(topic, 0, 0, 0, "CreateTime", None, b"x", ())]
    assignment.deliver(records)
    return Chunk(assignment, records)


def conductor_of(app: StreamsApp) -> Conductor:
    assert isinstance(app.topics, Conductor)
    return app.topics


async def test_a_chunk_of_a_topic_whose_agent_has_ended_is_an_error() -> None:
    """Nobody would ever settle it, and its partition would stall without a word."""
    app = StreamsApp(Settings(), groups=GROUPS)
    topic = app.topic("t")
    topics = conductor_of(app)
    topics.add(topic)
    assert topic in topics
    assert list(topics) == [topic]

    topics.discard(topic)

    assert topic not in topics
    with pytest.raises(TransportError, match="the agent of t has ended"):
        topics.put_chunk(a_chunk("t"))


async def test_agents_that_do_not_begin_to_read_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(conductor, "CHANNELS_SECONDS", 0.01)
    app = StreamsApp(Settings(), groups=GROUPS)
    ended = asyncio.Event()

    def end(error: BaseException) -> None:
        logging.getLogger(__name__).critical("%s", error)
        ended.set()

    monkeypatch.setattr(app, "end_after_failure", end)
    # As Faust does once its agents have started.
    getattr(app.agents, "_agents_started").set()  # noqa: B009 - its interface does not have the name
    await conductor_of(app)._subscribe(conductor_of(app))
    assert ended.is_set()
    assert "agents did not start to read within 0.01 s: t" in caplog.text
