"""A broker refuses the first request for a partition, and accepts the next: a topic is new, or a leader moves.

librdkafka then reports a success for the refused record, which is not there. Expected: whatever is acknowledged is in
the topic. A producer of events sends such a record again; the producer of a worker reports an error for it.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from schemas import AccountDeletionRequested
from streams import headers
from streams.codec import Codec, build_codec
from streams.publishing import AsyncEventProducer, EventProducer
from streams.settings import Settings
from streams.topics import load_catalogue
from streams.transport.kafka.errors import ProduceError
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import NewRecord, to_record
from tests.support.kafka_records import read_all
from tests.support.proxies.kafka_proxy import refused_first

pytestmark = pytest.mark.topics("account.deletion-requested")

SECTION = "Publishing"
REQUIREMENT = "an acknowledgement without an offset is none: the record is sent again"
COUNT = 6


@contextmanager
def refusing(topics: Settings, name: str) -> Iterator[tuple[Settings, Codec, str]]:
    """Yield settings with a broker that refuses the first request for a topic, a codec, and the topic's full name."""
    catalogue = load_catalogue(topics)
    topic = catalogue.topic(name).name
    with refused_first(topics.kafka_bootstrap_servers, topic) as (refuser, address):
        yield topics.model_copy(update={"kafka_bootstrap_servers": address}), build_codec(topics, catalogue), topic
        assert refuser.refused is not None


def ids(settings: Settings, topic: str) -> list[bytes]:
    found = read_all(settings, topic, COUNT)
    return sorted(headers.last(to_record(message).headers, headers.CE_ID) or b"" for message in found)


Publish = Callable[[Settings, Codec, list[AccountDeletionRequested]], int]


def with_publish_many(settings: Settings, codec: Codec, events: list[AccountDeletionRequested]) -> int:
    with EventProducer(settings, codec, timeout=20) as producer:
        return producer.publish_many(events)


def with_send(settings: Settings, codec: Codec, events: list[AccountDeletionRequested]) -> int:
    with EventProducer(settings, codec, timeout=20) as producer:
        sent = [producer.send(event) for event in events]
        return len({(one.result().partition, one.result().offset) for one in sent})


def with_asyncio(settings: Settings, codec: Codec, events: list[AccountDeletionRequested]) -> int:
    async def run() -> int:
        async with AsyncEventProducer(settings, codec, timeout=20) as producer:
            places = await asyncio.gather(*(producer.publish(event) for event in events))
            return len({(place.partition, place.offset) for place in places})

    return asyncio.run(run())


@pytest.mark.requirement(SECTION, REQUIREMENT)
@pytest.mark.parametrize("size", [600_000, 300_000])
@pytest.mark.parametrize("publish", [with_publish_many, with_send, with_asyncio])
def test_all_acknowledged_events_are_there(topics: Settings, publish: Publish, size: int) -> None:
    """Each is there once. One or three of them fill a request, so that several requests are on their way."""
    direct = topics.model_copy(update={"claim_check_bytes": 1_000_000})  # the values stay in the records
    events = [AccountDeletionRequested(account_id="a" * size) for _ in range(COUNT)]
    with refusing(direct, "account.deletion-requested") as (settings, codec, topic):
        assert publish(settings, codec, events) == COUNT
    assert ids(topics, topic) == sorted(str(event.event_id).encode() for event in events)


@pytest.mark.requirement(SECTION, REQUIREMENT)
async def test_a_worker_s_record_that_is_not_there_may_be_sent_again(topics: Settings) -> None:
    """Alone and in a batch. The others are acknowledged."""
    with refusing(topics, "account.deletion-requested") as (settings, _, topic):
        producer = RecordProducer(settings)
        await producer.start()
        records = [NewRecord(topic, b"k", bytes(700_000) + bytes([number]), ()) for number in range(COUNT)]
        outcomes = await asyncio.wait_for(await producer.send_all(records), 20)
        again = [record for record, error in zip(records, outcomes, strict=True) if error is not None]
        assert [error.retriable for error in outcomes if error is not None] == [True]
        place = await producer.produce(topic, key=b"k", value=again[0].value, headers=())
        await producer.stop()
    assert place.offset == COUNT - 1
    assert sorted((message.value() or b"")[-1] for message in read_all(topics, topic, COUNT)) == list(range(COUNT))


@pytest.mark.requirement(SECTION, REQUIREMENT)
async def test_a_single_record_of_a_worker_that_is_not_there_is_an_error(topics: Settings) -> None:
    with refusing(topics, "account.deletion-requested") as (settings, _, topic):
        producer = RecordProducer(settings)
        await producer.start()
        value = bytes(700_000)
        sent = [await producer.send(topic, key=b"k", value=value, headers=()) for _ in range(COUNT)]
        outcomes = await asyncio.wait_for(asyncio.gather(*sent, return_exceptions=True), 20)
        await producer.stop()
    errors = [one for one in outcomes if isinstance(one, ProduceError)]
    assert [error.retriable for error in errors] == [True]
    assert len(read_all(topics, topic, COUNT - 1)) == COUNT - 1
