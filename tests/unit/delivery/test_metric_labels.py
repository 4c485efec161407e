"""Labels never grow: what records and handlers say is no value of a label, however often they say something new."""

import logging
import random

import pytest
import structlog

from streams import headers
from streams.codec import build_codec
from streams.delivery.admission.breaker_registry import BreakerRegistry
from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord
from streams.delivery.errors import Reason, Unavailable
from streams.delivery.intake.decoding import Decoder
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import ErrorText
from streams.observability.metrics import REGISTRY
from streams.transport.kafka.records import Assignment, Chunk
from tests.support.factories import CATALOGUE, SETTINGS, a_delivery, a_handler, a_record

HANDLER = a_handler()
TELEMETRY = Telemetry("fuzz", CATALOGUE, {HANDLER.name})
DECODER = Decoder(
    build_codec(SETTINGS, CATALOGUE, blocking=True),
    CATALOGUE,
    {HANDLER.name: HANDLER},
    {"document.deleted": (HANDLER,)},
    pool="low",
    window=30,
)


def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return every series of this process."""
    return {
        (sample.name, frozenset(sample.labels.items())) for family in REGISTRY.collect() for sample in family.samples
    }


def report_random(chance: random.Random, breakers: BreakerRegistry) -> None:
    """Report what one hostile record and one careless handler lead to."""
    topic, handler, error, tenant = (f'{chance.getrandbits(64):x}\n"}}' for _ in range(4))
    reason = chance.choice(list(Reason))
    text = ErrorText(error, error, error)
    info = DeadLetterInfo(reason, text, attempts=1, first_failed_at=0, died_at=0, group=error, handler=handler)
    TELEMETRY.unreadable(UnreadableRecord(a_record(topic=topic), topic, reason, text, handler=handler), info)
    forged = (
        (headers.ORIGIN_TOPIC, chance.choice([topic, "document.deleted"]).encode()),
        (headers.ORIGIN_PARTITION, b"0"),
        (headers.ORIGIN_OFFSET, b"0"),
        (headers.HANDLER, chance.choice([handler, HANDLER.name]).encode()),
    )
    record = a_record(topic=f"{SETTINGS.application}.low.retry.10s", value=topic.encode(), headers=forged)
    read = DECODER.decode_retry(Chunk(Assignment(record.topic, 0), [record]), record, None)
    if isinstance(read, UnreadableRecord):
        TELEMETRY.unreadable(read, info)
    delivery = a_delivery(topic, tenant=tenant, topic=topic)
    failure = type(error.encode().hex(), (Exception,), {})()
    TELEMETRY.failed(delivery, failure, 0.1)
    TELEMETRY.died(delivery, info)
    TELEMETRY.deferred(delivery, error)
    TELEMETRY.succeeded([delivery], 0.0, 0.1, 0.2)
    breakers.failed(Unavailable(error, error), HANDLER)


@pytest.mark.requirement("Bad input", "labels never grow: 10,000 random topics, handlers, error types and tenants")
async def test_the_number_of_series_is_bounded() -> None:
    """After the first hundred reports there is no new series in ten thousand."""
    # The log lines of ten thousand reports would take longer than all else.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    chance, breakers = random.Random(17), BreakerRegistry([])
    for _ in range(300):
        report_random(chance, breakers)
    before = series()
    for _ in range(10_000):
        report_random(chance, breakers)
    breakers.close()
    assert series() == before
    tenants = [labels for _, labels in before if any(name in {"tenant", "key", "event_id"} for name, _ in labels)]
    assert tenants == []
