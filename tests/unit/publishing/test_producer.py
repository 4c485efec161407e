"""A producer is closed while others publish: nobody waits for ever."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any
from unittest.mock import AsyncMock

import pytest

from streams.codec import build_codec
from streams.publishing import EventProducer, PublishError
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import RecordMetadata
from tests.support.factories import CATALOGUE, SETTINGS, an_event
from tests.support.processes.worker_process import free_port

TIMEOUT = 0.5


class Client:
    """librdkafka's client, with a call of the test's before `produce` or before `purge`."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - the client's type has no interface
        self._client = client
        self.before_purge: Callable[[], None] | None = None
        self.before_produce: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._client, name)

    def __len__(self) -> int:
        return len(self._client)

    def purge(self) -> None:
        call, self.before_purge = self.before_purge, None
        if call is not None:
            call()
        self._client.purge()

    def produce(self, *arguments: object, **options: object) -> None:
        if self.before_produce is not None:
            self.before_produce()
        self._client.produce(*arguments, **options)


@pytest.fixture
def producer() -> Iterator[EventProducer]:
    """Return a producer whose Kafka does not answer."""
    settings = SETTINGS.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with EventProducer(settings, build_codec(SETTINGS, CATALOGUE), timeout=TIMEOUT) as made:
        yield made


@pytest.fixture
def client(producer: EventProducer) -> Client:
    made = Client(producer._client.current)
    producer._client.current = made  # type: ignore[assignment]  # it has all methods
    return made


def test_an_event_that_is_sent_while_the_producer_closes_ends(producer: EventProducer, client: Client) -> None:
    """It is refused, or its future is done."""
    sent: list[Future[RecordMetadata]] = []
    refused: list[PublishError] = []

    def send() -> None:
        try:
            sent.append(producer.send(an_event()))
        except PublishError as error:
            refused.append(error)

    first = producer.send(an_event())
    client.before_purge = send
    producer._client._timeout = 0.0
    producer.close()
    assert first.done()
    assert len(sent) + len(refused) == 1
    assert all(future.done() for future in sent)


def test_an_event_that_is_queued_after_the_producer_was_closed_ends(producer: EventProducer, client: Client) -> None:
    """Its thread has found the producer open, and then waited for the processor."""
    waits, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        waits.set()
        go_on.wait(10)

    ended: Future[None] = Future()

    def publish() -> None:
        try:
            producer.publish(an_event())
        except PublishError as error:
            ended.set_exception(error)

    client.before_produce = wait
    threading.Thread(target=publish, daemon=True).start()
    assert waits.wait(10)
    producer.close()
    go_on.set()
    with pytest.raises(PublishError, match="no acknowledgement"):
        ended.result(5)


def test_an_outstanding_event_fails_with_the_end_of_the_timeout(producer: EventProducer) -> None:
    sent = producer.send(an_event())
    producer._client._timeout = 0.0
    producer.close()
    with pytest.raises(PublishError, match="before this EventProducer was closed"):
        sent.result(0)


async def test_a_record_that_is_produced_while_the_producer_stops_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that reads the reports has ended already, and the event loop does not know it yet."""
    settings = SETTINGS.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    records = RecordProducer(settings, delivery_timeout=60.0)
    monkeypatch.setattr(records, "flush", AsyncMock())
    before = set(threading.enumerate())
    await records.start()
    stopping = asyncio.create_task(records.stop())
    await asyncio.sleep(0)
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    with pytest.raises(ProduceError, match="stopped"):
        await asyncio.wait_for(records.produce("a", key=None, value=b"x", headers=()), 5)
    await stopping
