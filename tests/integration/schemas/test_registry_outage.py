"""An unavailable or slow schema registry: records that need it wait, others run, and none is dead-lettered."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from schemas import Event
from streams.codec import Codec, build_codec
from streams.delivery import Backoff, Work, handles
from streams.delivery.admission import schema_loader
from streams.delivery.delivery import now_ms
from streams.schema_registry.clients import open_http_registry
from streams.schema_registry.register import register
from streams.settings import Settings
from streams.topics import load_catalogue
from streams.transport.kafka.records import Assignment, Chunk, Record
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, note
from tests.support.cli import Commands
from tests.support.delivery_engine import PATIENCE, Bench, open_bench
from tests.support.fakes.registry_server import RegistryServer, running_registry
from tests.support.processes.worker_process import WorkerProcess, publish, scalar, wait_for
from tests.support.trial_fixtures import environment, trial, with_registry

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]
ONCE = Backoff(attempts=1)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_loader, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(schema_loader, "LONGEST_PAUSE", 0.2)


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry() as running:
        yield running


@pytest.fixture
def remote(trial: Settings, server: RegistryServer) -> Settings:
    """The trial's settings, with its schemas registered at the server."""
    settings = with_registry(trial, server.url)
    assert list(register(load_catalogue(settings), open_http_registry(settings)))
    return settings


async def take(event: Event, work: Work) -> None:
    await note(event, work, "take")  # type: ignore[arg-type] # an event of the trials


single = handles(SingleTrialRequested, name="single", retry=ONCE)(take)
batch = handles(BatchTrialRequested, name="batch", retry=ONCE)(take)


class Sender:
    """Encodes records like a producer that fetched its schemas before the outage."""

    def __init__(self, settings: Settings) -> None:
        self._codec: Codec = build_codec(settings, load_catalogue(settings))
        for kind in (SingleTrialRequested, BatchTrialRequested, LongTrialRequested):
            self._codec.prepare(kind)

    def record(self, event: Event, offset: int) -> Record:
        made = self._codec.encode(event)
        return Record(made.topic, 0, offset, now_ms(), "CreateTime", made.key, made.value, made.headers)


def feed(bench: Bench, assignment: Assignment, records: list[Record]) -> None:
    """Deliver another chunk of a partition."""
    assignment.deliver(records)
    bench.engine.accept(Chunk(assignment, records))


@pytest.mark.requirement(
    "Schema evolution",
    "down or silent later: known ids go on, the rest waits, nothing is buried",
)
async def test_a_partition_waits_in_its_order_and_others_go_on(remote: Settings, server: RegistryServer) -> None:
    """Nothing is settled or dead-lettered in the meantime. After the outage the schema is fetched once."""
    sender = Sender(remote)
    async with open_bench(remote, single, batch) as bench:
        known = [sender.record(BatchTrialRequested(entity="b"), 0)]
        await bench.settled(bench.feed_records(known))
        server.stop()

        waiting = Assignment(sender.record(SingleTrialRequested(entity="e"), 0).topic, 0)
        events = [SingleTrialRequested(entity="e") for _ in range(6)]
        for offset in range(0, 6, 2):
            feed(bench, waiting, [sender.record(events[number], number) for number in (offset, offset + 1)])
        await bench.until(lambda: bench.context.breakers.any_open, "the breaker to open")
        others = bench.feed_records([sender.record(BatchTrialRequested(entity="b"), at) for at in range(1, 20)])
        await bench.settled(others)
        (breaker,) = [one for one in bench.context.breakers.all if one.state != "closed"]
        assert (breaker.dependency, "does not answer" in (breaker.error or "")) == ("schema-registry", True)
        assert waiting.unsettled == 6
        assert await bench.query("select 1 from streams.dead_letters") == []

        server.requests.clear()
        server.start()
        await bench.settled(waiting)
        rows = await bench.query("select event_id from trials where entity = 'e' order by id")
        assert not bench.context.breakers.any_open
    assert [row["event_id"] for row in rows] == [event.event_id for event in events]
    assert len(server.requests) == 1


@pytest.mark.requirement("Schema evolution", "it holds no event loop")
async def test_a_silent_registry_holds_no_event_loop(remote: Settings, server: RegistryServer) -> None:
    """The request runs in a thread: timers of the event loop stay on time, and events of other topics run."""
    sender = Sender(remote)
    async with open_bench(remote, single, batch) as bench:
        await bench.settled(bench.feed_records([sender.record(BatchTrialRequested(entity="b"), 0)]))
        server.silent = threading.Event()
        waiting = bench.feed_records([sender.record(SingleTrialRequested(entity="e"), 0)])
        latest = 0.0
        others = bench.feed_records([sender.record(BatchTrialRequested(entity="b"), at) for at in range(1, 50)])
        until = time.monotonic() + PATIENCE
        while others.unsettled and time.monotonic() < until:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            latest = max(latest, time.monotonic() - began)
        assert others.unsettled == 0
        assert waiting.unsettled == 1
        server.silent.set()
        await bench.settled(waiting)
    assert latest < 1


@pytest.mark.requirement(
    "Schema evolution",
    "down or silent later: known ids go on, the rest waits, nothing is buried",
)
async def test_of_a_tier_only_the_record_waits(remote: Settings, server: RegistryServer) -> None:
    """A tier has records of many topics, so the others must not wait."""
    sender = Sender(remote)
    headers = {one.name: (("streams-handler", one.name.encode()), ("streams-seq", b"1")) for one in (single, batch)}

    def retried(event: Event, offset: int, name: str) -> Record:
        made = sender.record(event, 0)
        origin = (
            ("streams-origin-topic", made.topic.encode()),
            ("streams-origin-partition", b"0"),
            ("streams-origin-offset", b"%d" % offset),
        )
        tier = f"{remote.topic_prefix}{remote.application}.default.retry.0s"
        return Record(
            tier, 0, offset, now_ms(), "CreateTime", made.key, made.value, (*made.headers, *headers[name], *origin)
        )

    async with open_bench(remote, single, batch) as bench:
        await bench.settled(bench.feed_records([sender.record(BatchTrialRequested(entity="b"), 0)]))
        server.stop()
        records = [
            retried(SingleTrialRequested(entity="e"), 0, "single"),
            retried(BatchTrialRequested(entity="b"), 1, "batch"),
        ]
        fed = bench.feed_records(records, tier_delay=0.0)
        await bench.until(lambda: fed.unsettled == 1, "the record whose schema is known")
        assert fed.committable in {None, 0}
        server.start()
        await bench.settled(fed)


@pytest.mark.requirement(
    "Schema evolution",
    "down or silent later: known ids go on, the rest waits, nothing is buried",
)
async def test_what_a_handler_publishes_waits_uncounted(remote: Settings, server: RegistryServer) -> None:
    """The schema id of the published event is unknown: the delivery is deferred, and no attempt is counted."""
    sender = Sender(remote)

    async def pass_on(event: SingleTrialRequested, work: Work) -> None:
        if event.plan != "null":
            await work.publish(LongTrialRequested(entity=event.entity))
        await note(event, work, "passed on")

    passing = handles(SingleTrialRequested, name="pass-on", retry=ONCE)(pass_on)
    async with open_bench(remote, passing) as bench:
        learning = SingleTrialRequested(entity="e", plan="null")
        await bench.settled(bench.feed_records([sender.record(learning, 0)]))
        server.stop()
        event = SingleTrialRequested(entity="e")
        await bench.settled(bench.feed_records([sender.record(event, 1)]))
        (row,) = [one for one in await bench.executions() if one["event_id"] == event.event_id]
        assert (row["status"], row["attempts"]) == ("retry", 0)
        server.start()
        await bench.settled(bench.feed_records([sender.record(SingleTrialRequested(entity="e"), 2)]))
        assert len(await bench.query("select 1 from streams.outbox")) == 1
        assert not bench.context.breakers.any_open


@pytest.mark.requirement("Schema evolution", "a registry that is down at start")
def test_a_worker_starts_without_it_and_works_when_it_comes(
    remote: Settings, server: RegistryServer, worker: MakeWorker, engine: Engine, commands: Commands
) -> None:
    """It is ready; its health page and `streams breakers` report the outage; its records wait and then run."""
    publish(remote, [SingleTrialRequested(entity=f"e{number}") for number in range(10)])
    server.stop()
    one = worker(STREAMS_SCHEMA_REGISTRY_URL=remote.schema_registry_url, STREAMS_SCHEMA_FILES=str(remote.schema_files))
    one.start()
    wait_for(lambda: "schema-registry" in one.page("/health/ready")[1], "the health page to report it")
    assert one.page("/health/ready")[0] == 200
    wait_for(lambda: ("schema-registry", "open") in breakers(commands), "`streams breakers` to report it")
    assert scalar(engine, "select count(*) from streams.executions") == 0
    server.start()
    wait_for(lambda: scalar(engine, "select count(*) from streams.executions where status = 'success'") == 10, "all")
    assert scalar(engine, "select count(*) from streams.dead_letters") == 0
    assert one.stop() == 0


def breakers(commands: Commands) -> set[tuple[object, object]]:
    """Return dependency and state from `streams breakers`."""
    return {(row["dependency"], row["state"]) for row in commands.rows("breakers")}
