"""The producer with a real broker: acknowledged records are there, and errors say whether they may be temporary."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from streams.settings import Settings
from streams.transport.kafka.producer import ProduceError, RecordMetadata, RecordProducer
from streams.transport.kafka.records import to_record
from tests.integration.transport.test_worker import listeners
from tests.support.local_stack.stack import Stack


@pytest.fixture
def servers(stack: Stack) -> str:
    return stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]


@pytest.fixture
def topic(stack: Stack) -> str:
    return new_topic(stack)


def new_topic(stack: Stack) -> str:
    """A topic with three partitions; its name."""
    name = f"{stack.fresh_name()}.producer"
    admin = AdminClient({"bootstrap.servers": stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"]})
    forever = {"retention.ms": "-1"}  # also for timestamps of long ago
    admin.create_topics([NewTopic(name, 3, 1, config=forever)])[name].result(10)
    return name


@pytest.fixture
async def producer(servers: str) -> AsyncIterator[RecordProducer]:
    async with running_producer(servers) as made:
        yield made


@asynccontextmanager
async def running_producer(servers: str) -> AsyncIterator[RecordProducer]:
    """A producer whose records have two seconds to be acknowledged."""
    made = RecordProducer(Settings(kafka_bootstrap_servers=servers), delivery_timeout=2.0)
    await made.start()
    yield made
    await made.stop()


def read(servers: str, place: RecordMetadata) -> Message:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "reader", "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(place.topic, place.partition, place.offset)])
        found = consumer.poll(10)
        assert found is not None
        assert found.error() is None
        return found
    finally:
        consumer.close()


async def test_a_record_arrives_as_it_was_given(producer: RecordProducer, servers: str, topic: str) -> None:
    headers = (("streams-seq", b"1"), ("twice", b"a"), ("twice", b"\xff\x00"))
    place = await producer.produce(topic, key=b"k", value=b"\x00v", headers=headers, partition=2, timestamp=1234567)
    assert (place.topic, place.partition) == (topic, 2)
    found = to_record(read(servers, place))
    assert (found.key, found.value, found.headers) == (b"k", b"\x00v", headers)
    assert (found.timestamp, found.timestamp_type) == (1234567, "CreateTime")
    assert (found.topic, found.partition, found.offset) == (topic, 2, place.offset)


async def test_an_empty_record_stays_empty(producer: RecordProducer, servers: str, topic: str) -> None:
    place = await producer.produce(topic, key=None, value=None, headers=())
    found = to_record(read(servers, place))
    assert (found.key, found.value, found.headers) == (None, None, ())


async def test_records_of_one_key_share_a_partition_in_order(producer: RecordProducer, topic: str) -> None:
    places = await asyncio.gather(
        *(producer.produce(topic, key=b"one", value=str(number).encode(), headers=()) for number in range(500))
    )
    assert len({place.partition for place in places}) == 1
    assert [place.offset for place in places] == list(range(500))


async def test_what_the_broker_will_always_refuse_is_not_retriable(producer: RecordProducer, topic: str) -> None:
    with pytest.raises(ProduceError, match="MSG_SIZE_TOO_LARGE") as too_large:
        await producer.produce(topic, key=None, value=os.urandom(2_000_000), headers=())
    with pytest.raises(ProduceError, match="UNKNOWN") as unknown:
        await producer.produce(f"{topic}-unknown", key=None, value=b"x", headers=())
    assert (too_large.value.retriable, unknown.value.retriable) == (False, False)
    assert (too_large.value.rejects_record, unknown.value.rejects_record) == (True, False)
    # The brokers decide by the compressed size.
    await producer.produce(topic, key=None, value=bytes(8_000_000), headers=())


async def test_a_broker_that_does_not_answer_is_retriable_and_bounded(breakable_stack: Stack) -> None:
    servers, topic = breakable_stack.environment["STREAMS_KAFKA_BOOTSTRAP_SERVERS"], new_topic(breakable_stack)
    async with running_producer(servers) as producer:
        await producer.produce(topic, key=None, value=b"before", headers=())
        brokers = listeners(servers)
        for broker in brokers:
            broker.send_signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            with pytest.raises(ProduceError) as refused:
                await producer.produce(topic, key=None, value=b"lost?", headers=())
            assert refused.value.retriable
            assert time.monotonic() - begun < 5
        finally:
            for broker in brokers:
                broker.send_signal(signal.SIGCONT)
        await producer.produce(topic, key=None, value=b"after", headers=())


async def test_a_producer_that_is_not_started_says_so(servers: str) -> None:
    with pytest.raises(ProduceError, match="not started"):
        await RecordProducer(Settings(kafka_bootstrap_servers=servers)).produce("t", key=None, value=None, headers=())
