"""Decoding: whatever one record raises is its dead letter, and a retry of another pool does not circulate."""

import asyncio

import pytest

from schemas import Event
from streams import headers
from streams.codec import Codec, build_codec
from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import Delivery, now_ms
from streams.delivery.intake.decoded import Rerouted
from streams.delivery.intake.decoding import Decoder
from streams.delivery.settlement.records import RetryState, moved_record, retry_record
from streams.headers import Headers
from streams.schema_registry.clients import SchemaNotFetchedError
from streams.settings import PoolName
from streams.topics import Catalogue, Topic
from streams.transport.kafka.records import Assignment, Chunk, Record
from tests.support.factories import CATALOGUE, SETTINGS, a_delivery, a_handler, an_event
from tests.support.kafka_records import UnreadableHeaders

CODEC = build_codec(SETTINGS, CATALOGUE)
NOW = now_ms()
TOPIC = "document.deleted"


RAISED = [
    KeyError("k"),
    RecursionError(),
    MemoryError(),
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
]


class BrokenCodec(Codec):
    """A codec that raises what it is given."""

    error: BaseException

    def decode(self, topic: str, value: bytes | None) -> Event:  # noqa: ARG002 - a codec's arguments
        raise self.error


def a_decoder(
    *, codec: Codec = CODEC, catalogue: Catalogue = CATALOGUE, pool: PoolName = "low", now: int = NOW
) -> Decoder:
    handler = a_handler()
    return Decoder(
        codec,
        catalogue,
        {handler.name: handler},
        {TOPIC: (handler,)},
        pool=pool,
        window=30,
        clock=lambda: now,
    )


def chunk_of(*records: Record) -> Chunk:
    return Chunk(Assignment(records[0].topic, 0), list(records))


def event_record(offset: int = 0, record_headers: Headers = ()) -> Record:
    encoded = CODEC.encode(an_event())
    return Record(TOPIC, 0, offset, NOW, "CreateTime", encoded.key, encoded.value, record_headers)


@pytest.mark.requirement("Faults of others", "R2: whatever building the event raises is `validation`")
@pytest.mark.parametrize(
    "error",
    [KeyError("k"), RecursionError(), MemoryError(), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()],
)
def test_whatever_decoding_raises_is_the_record_s_dead_letter(error: BaseException) -> None:
    """In chunks of event topics and in retry tiers."""
    codec = BrokenCodec(CODEC._resolver._registry, CODEC._resolver.files, CATALOGUE, "test")
    codec.error = error
    decoder = a_decoder(codec=codec)
    read = decoder.decode_chunk(chunk_of(event_record(0), event_record(1)), {})
    assert [(one.record.offset, one.reason) for one in read.unreadable] == [(0, "decode"), (1, "decode")]
    assert read.unreadable[0].error.type_name == type(error).__name__.replace(
        "Cancelled", "asyncio.exceptions.Cancelled"
    )
    tier = retry_of(TOPIC)
    retried = decoder.decode_retry(chunk_of(tier), tier, None)
    assert isinstance(retried, UnreadableRecord)
    assert retried.handler == "clean-document"


def test_a_schema_that_must_be_fetched_is_no_dead_letter() -> None:
    codec = BrokenCodec(CODEC._resolver._registry, CODEC._resolver.files, CATALOGUE, "test")
    codec.error = SchemaNotFetchedError("schema 1", lambda: None)
    with pytest.raises(SchemaNotFetchedError):
        a_decoder(codec=codec).decode_chunk(chunk_of(event_record()), {})


@pytest.mark.requirement("Faults of others", "c16: headers that the client cannot read are a dead letter")
def test_headers_that_cannot_be_read_are_a_dead_letter() -> None:
    """Its neighbours are deliveries. A record of a tier without readable headers names no topic."""
    good, bad = event_record(0), event_record(1)
    bad._headers = UnreadableHeaders()
    read = a_decoder().decode_chunk(chunk_of(good, bad), {})
    assert [delivery.record.offset for delivery in read.deliveries] == [0]
    assert [(one.reason, one.topic) for one in read.unreadable] == [("decode", TOPIC)]
    assert "the headers cannot be read" in read.unreadable[0].error.message
    tier = Record("streams.low.retry.10s", 0, 0, NOW, "CreateTime", None, b"value", UnreadableHeaders())
    retried = a_decoder().decode_retry(chunk_of(tier), tier, None)
    assert isinstance(retried, UnreadableRecord)
    assert retried.topic in {topic.name for topic in CATALOGUE if topic.pool == "low"}


def retry_of(topic: str, due_in: int = 0, record_headers: Headers = ()) -> Record:
    """Return a record of a retry tier, due in some ms."""
    value = CODEC.encode(an_event()).value
    hop = retry_record(a_delivery(topic=topic), "tier", RetryState(1, 1, NOW + due_in))
    return Record("tier", 0, 0, NOW, "CreateTime", b"k", value, (*hop.headers, *record_headers))


@pytest.mark.requirement("Faults of others", "R2: whatever building the event raises is `validation`")
@pytest.mark.parametrize("due_at", [b"9" * 5000, b"9" * 30, b"-1", b"\xff", b"", b"1e9"])
def test_a_forged_due_time_is_due_at_once(due_at: bytes) -> None:
    tier = retry_of(TOPIC, record_headers=((headers.DUE_AT, due_at),))
    assert isinstance(a_decoder().decode_retry(chunk_of(tier), tier, None), Delivery)


@pytest.mark.requirement("Faults of others", "R17: a topic that changes its pool does not circulate between tiers")
def test_two_versions_that_disagree_about_a_pool_move_a_record_once_a_minute() -> None:
    """It goes to the tier that fits what remains. A second move within a minute waits."""
    topic = CATALOGUE.topic(TOPIC)
    other = Catalogue([Topic(topic.name, topic.event, key=topic.key, pool="high")], SETTINGS)
    tier = retry_of(TOPIC, due_in=3_600_000)
    moves, now = 0, NOW
    decoders = ("low", other), ("high", CATALOGUE)
    while now < NOW + 10 * 60_000:
        pool, catalogue = decoders[moves % 2]
        read = a_decoder(catalogue=catalogue, pool=pool, now=now).decode_retry(chunk_of(tier), tier, None)  # type: ignore[arg-type]
        assert isinstance(read, Rerouted)
        moves += 1
        now += round(read.wait * 1000) + 10
        moved = moved_record(read.record, read.tier, due_at=read.due_at, moved_at=read.moved_at)
        tier = Record(moved.topic, 0, moves, now, "CreateTime", moved.key, moved.value, moved.headers)
        assert read.tier != catalogue.tier(pool, 0.0)  # type: ignore[arg-type]
        assert not read.tier.endswith(".0s")
    assert moves <= 11


@pytest.mark.requirement("Faults of others", "a forged retry cannot give a handler the events of another topic")
def test_a_handler_takes_no_event_of_another_topic() -> None:
    """The record waits as for an unknown handler, since a rolling deployment may bring one. After a day it is dead."""
    other = "dataset.deleted"
    decoder = a_decoder()
    fresh = retry_of(TOPIC)
    forged = Record(
        fresh.topic, 0, 1, NOW, "CreateTime", fresh.key, fresh.value,
        tuple((name, other.encode() if name == headers.ORIGIN_TOPIC else value) for name, value in fresh.headers),
    )  # fmt: skip

    read = decoder.decode_retry(chunk_of(forged), forged, None)

    assert isinstance(read, Rerouted)
    assert read.unknown_since == NOW
