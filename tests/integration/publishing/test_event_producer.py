"""Publishing straight to Kafka: acknowledged events are there, others are reported in one line."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas import DocumentDeleted, Event, MessageCreated
from streams.codec import Codec, build_codec
from streams.publishing import AsyncEventProducer, BadEventError, EventProducer, PublishError
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.kafka_records import end_offsets, read_all
from tests.support.processes.worker_process import free_port

pytestmark = pytest.mark.topics("document.deleted", "message.created")


@pytest.fixture
def codec(settings: Settings) -> Codec:
    return build_codec(settings, load_catalogue(settings))


@pytest.fixture
def producer(topics: Settings, codec: Codec) -> Iterator[EventProducer]:
    with EventProducer(topics, codec, timeout=10) as made:
        yield made


def a_deletion(document: str = "d1") -> DocumentDeleted:
    return DocumentDeleted(tenant_id="t1", document_id=document, dataset_id="s1", doc_form="text_model")


def a_charge(tokens: int) -> MessageCreated:
    return MessageCreated(
        message_id="m",
        app_id="a",
        provider_name="openai",
        model="gpt-4",
        provider_type="system",
        message_tokens=tokens,
        answer_tokens=1,
    )


@pytest.mark.requirement("Publishing", "`EventProducer`, sync and asyncio: delivery reports awaited")
def test_a_published_event_is_where_it_says(producer: EventProducer, settings: Settings, codec: Codec) -> None:
    event = a_deletion()
    where = producer.publish(event)
    (message,) = read_all(settings, f"{settings.topic_prefix}document.deleted", 1)
    assert (where.topic, where.partition, where.offset) == (message.topic(), message.partition(), message.offset())
    assert message.key() == b"d1"
    assert codec.decode(where.topic, message.value()) == event
    assert ("ce_id", str(event.event_id).encode()) in (message.headers() or [])


@pytest.mark.requirement("Publishing", "one idempotent client: nothing twice, in the order of its key")
def test_many_are_published_in_the_order_of_their_key(
    producer: EventProducer, settings: Settings, codec: Codec
) -> None:
    """More than the window, of one key, from a generator: all are acknowledged, in order, none twice."""
    events = [a_deletion() for _ in range(12_000)]
    assert producer.publish_many(event for event in events) == len(events)
    topic = f"{settings.topic_prefix}document.deleted"
    came = read_all(settings, topic, len(events))
    assert [codec.decode(topic, message.value()).event_id for message in came] == [event.event_id for event in events]


@pytest.mark.requirement("Publishing", "one idempotent client: nothing twice, in the order of its key")
@pytest.mark.parametrize("partitions", [4])
def test_a_key_has_the_partition_that_java_would_give_it(producer: EventProducer) -> None:
    """murmur2 of the key, positive, modulo the partitions: computed with Kafka's own Utils.murmur2 for these keys."""
    assert [producer.publish(a_deletion(key)).partition for key in ("21", "foobar", "abc")] == [
        murmur2(key.encode()) % 4 for key in ("21", "foobar", "abc")
    ]


def murmur2(data: bytes) -> int:
    """Kafka's hash of a key, masked to be positive (org.apache.kafka.common.utils.Utils)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    value = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        word = int.from_bytes(data[start : start + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        value = value * multiplier & mask ^ word
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return (value ^ value >> 15) & 0x7FFFFFFF


def test_a_bad_event_among_many_stops_them_and_counts_those_before(producer: EventProducer, settings: Settings) -> None:
    def events() -> Iterator[Event]:
        yield from (a_deletion() for _ in range(300))
        yield a_charge(2**70)
        pytest.fail("nothing is asked for after the bad one")

    with pytest.raises(BadEventError, match="MessageCreated") as refused:
        producer.publish_many(events())
    assert refused.value.acknowledged == 300
    assert end_offsets(settings, f"{settings.topic_prefix}document.deleted") == 300


def test_an_error_of_the_iterable_passes_through_and_what_was_sent_is_there(
    producer: EventProducer, settings: Settings
) -> None:
    def events() -> Iterator[Event]:
        yield from (a_deletion() for _ in range(300))
        raise LookupError

    with pytest.raises(LookupError):
        producer.publish_many(events())
    assert end_offsets(settings, f"{settings.topic_prefix}document.deleted") == 300


@pytest.mark.requirement("Bad input", "a missing topic: one line")
def test_a_missing_topic_is_named_with_what_to_run(settings: Settings, codec: Codec) -> None:
    """No `topics` fixture: the catalogue's topics do not exist."""
    with (
        EventProducer(settings, codec, timeout=10) as producer,
        pytest.raises(PublishError, match=r"no topic .*document\.deleted.*`streams topics apply`"),
    ):
        producer.publish(a_deletion())


@pytest.mark.requirement("Publishing", "a bounded time with Kafka down, then a clear error")
def test_kafka_out_of_reach_is_said_within_the_timeout(settings: Settings, codec: Codec) -> None:
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with EventProducer(nowhere, codec, timeout=1.5) as producer:
        with pytest.raises(PublishError, match=r"no acknowledgement from Kafka at .* within 1\.5 s"):
            producer.publish(a_deletion())
        with pytest.raises(PublishError, match="no acknowledgement") as failed:
            producer.publish_many(a_deletion() for _ in range(10))
    assert failed.value.acknowledged == 0


@pytest.mark.requirement("Publishing", "back-pressure instead of a full-queue error")
def test_a_full_queue_is_back_pressure_and_no_error(topics: Settings, codec: Codec) -> None:
    """The client has room for ten records. Hundreds are sent all the same, also from several threads."""
    narrow = topics.model_copy(update={"kafka_config": {"queue.buffering.max.messages": "10"}})
    with EventProducer(narrow, codec, timeout=30) as producer:
        assert producer.publish_many(a_deletion() for _ in range(500)) == 500
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(lambda number: producer.publish(a_deletion(str(number))), range(100)))
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 600


@pytest.mark.requirement("Publishing", "back-pressure instead of a full-queue error")
async def test_a_full_queue_holds_up_no_other_coroutine(topics: Settings, codec: Codec) -> None:
    narrow = topics.model_copy(update={"kafka_config": {"queue.buffering.max.messages": "10", "linger.ms": "50"}})
    longest = 0.0
    over = asyncio.Event()

    async def beat() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while not over.is_set():
            began = loop.time()
            await asyncio.sleep(0)
            longest = max(longest, loop.time() - began)

    async with AsyncEventProducer(narrow, codec, timeout=30) as producer:
        await producer.publish(a_deletion())
        beating = asyncio.create_task(beat())
        await asyncio.gather(*(producer.publish(a_deletion(str(number))) for number in range(100)))
        over.set()
        await beating
    assert longest < 0.5
    assert await asyncio.to_thread(end_offsets, topics, f"{topics.topic_prefix}document.deleted") == 101


@pytest.mark.requirement("Publishing", "flush on exit")
def test_what_was_sent_is_flushed_on_exit(topics: Settings, codec: Codec) -> None:
    """No code waits for a report, and the client delays records for longer than the block lasts."""
    slow = topics.model_copy(update={"kafka_config": {"linger.ms": "500"}})
    with EventProducer(slow, codec, timeout=30) as producer:
        sent = [producer.send(a_deletion(str(number))) for number in range(50)]
    assert len({(one.result(0).partition, one.result(0).offset) for one in sent}) == 50
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 50


@pytest.mark.requirement("Publishing", "a bounded time with Kafka down, then a clear error")
def test_with_kafka_away_and_the_queue_full_the_time_is_bounded_too(settings: Settings, codec: Codec) -> None:
    away = {
        "kafka_bootstrap_servers": f"127.0.0.1:{free_port()}",
        "kafka_config": {"queue.buffering.max.messages": "1"},
    }
    with EventProducer(settings.model_copy(update=away), codec, timeout=1.0) as producer:
        first = producer.send(a_deletion())
        began = time.monotonic()
        with pytest.raises(PublishError, match=r"no acknowledgement|stayed full"):
            producer.publish(a_deletion())
        assert time.monotonic() - began < 10
        with pytest.raises(PublishError, match="no acknowledgement"):
            first.result(10)


@pytest.mark.requirement("Publishing", "a bounded time with Kafka down, then a clear error")
async def test_asyncio_too_says_within_the_timeout_that_kafka_is_away(settings: Settings, codec: Codec) -> None:
    nowhere = settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{free_port()}"})
    async with AsyncEventProducer(nowhere, codec, timeout=1.0) as producer:
        async with asyncio.timeout(10):
            with pytest.raises(PublishError, match=r"no acknowledgement from Kafka at .* within 1 s"):
                await producer.publish(a_deletion())
            with pytest.raises(PublishError, match="no acknowledgement"):
                await producer.publish_many([a_deletion()])


def test_a_closed_producer_says_so(settings: Settings, codec: Codec) -> None:
    producer = EventProducer(settings, codec)
    producer.close()
    producer.close()
    with pytest.raises(PublishError, match="closed"):
        producer.publish(a_deletion())


def _publish_in_child(producer: EventProducer, said: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        producer.publish(a_deletion())
    except PublishError as error:
        said.put(str(error))
    else:
        said.put("published")


def test_a_producer_from_before_a_fork_says_so_instead_of_hanging(producer: EventProducer) -> None:
    """As in a pre-forking web server or Celery worker that created it too early."""
    context = multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    child = context.Process(target=_publish_in_child, args=(producer, said))
    child.start()
    try:
        assert "fork" in said.get()
    finally:
        child.kill()
        child.join()


@pytest.mark.requirement("Publishing", "`EventProducer`, sync and asyncio: delivery reports awaited")
async def test_asyncio_publishes_beside_other_work(topics: Settings, codec: Codec) -> None:
    async with AsyncEventProducer(topics, codec, timeout=10) as producer:
        places = await asyncio.gather(*(producer.publish(a_deletion(str(number))) for number in range(200)))
        assert len({(place.partition, place.offset) for place in places}) == 200
        assert await producer.publish_many(a_deletion() for _ in range(1000)) == 1000
        waiting = asyncio.ensure_future(producer.publish(a_deletion()))
        await asyncio.sleep(0)
        waiting.cancel()
        assert (await producer.publish(a_deletion())).offset >= 0
    topic = f"{topics.topic_prefix}document.deleted"
    assert await asyncio.to_thread(end_offsets, topics, topic) >= 1201
