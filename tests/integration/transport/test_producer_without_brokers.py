"""The producer while no broker answers: what waits is bounded in time, and nothing is left without an answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from streams.settings import Settings
from streams.transport.kafka.errors import TransportError
from streams.transport.kafka.producer import NewRecord, ProduceError, RecordProducer

NOBODY = "127.0.0.1:1"
"""No broker listens there."""
SECONDS = 1.0


def settings(**config: str) -> Settings:
    return Settings(kafka_bootstrap_servers=NOBODY, kafka_config=config)


@pytest.fixture
async def producer() -> AsyncIterator[RecordProducer]:
    """Its queue has room for one record."""
    made = RecordProducer(settings(**{"queue.buffering.max.messages": "1"}), delivery_timeout=SECONDS)
    await made.start()
    yield made
    await made.stop()


def a_record(value: bytes) -> NewRecord:
    return NewRecord("t", None, value, ())


async def test_a_full_queue_ends_in_a_refusal_that_may_be_tried_again(producer: RecordProducer) -> None:
    """Those behind the first are not queued either, or they would overtake it."""
    async with asyncio.timeout(20):
        outcomes = await (await producer.send_all(a_record(bytes([number])) for number in range(5)))
    assert len(outcomes) == 5
    for outcome in outcomes:
        assert isinstance(outcome, ProduceError)
        assert outcome.retriable


async def test_a_flush_is_bounded_and_counts_what_is_under_way(
    producer: RecordProducer, caplog: pytest.LogCaptureFixture
) -> None:
    future = await producer.send("t", key=None, value=b"x", headers=())
    assert await producer.flush(0.01) >= 1  # the client's reports of refused connections count, too
    assert "records were not acknowledged in time" in caplog.text
    with pytest.raises(ProduceError) as refused:
        await asyncio.wait_for(future, 20)
    assert refused.value.retriable


async def test_an_answer_that_nobody_awaits_any_more_harms_no_other() -> None:
    made = RecordProducer(settings(), delivery_timeout=SECONDS)
    await made.start()
    cancelled = await made.send("t", key=None, value=b"x", headers=())
    cancelled.cancel()
    other = await made.send("t", key=None, value=b"y", headers=())
    with pytest.raises(ProduceError):
        await asyncio.wait_for(other, 20)
    await made.stop()


async def test_stopping_answers_whoever_still_waits() -> None:
    made = RecordProducer(settings(), delivery_timeout=60.0)
    await made.start()
    await made.start()  # harmless
    future = await made.send("t", key=None, value=b"x", headers=())
    await made.stop()
    await made.stop()
    with pytest.raises(ProduceError):
        await asyncio.wait_for(future, 5)
    assert await made.flush() == 0
    with pytest.raises(ProduceError, match="not started"):
        await made.produce("t", key=None, value=b"x", headers=())


async def test_settings_that_librdkafka_refuses_are_named() -> None:
    with pytest.raises(TransportError, match=r"rejects the producer's settings.*no\.such\.setting"):
        await RecordProducer(settings(**{"no.such.setting": "1"})).start()
