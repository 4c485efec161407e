"""A broker refuses an id to a producer: its account may not write to any topic yet. That is fatal to the client.

Expected: events fail at once, with one line that says why. When the account has its rights, the same producer
publishes: a service need not be restarted.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from schemas import AccountDeletionRequested
from streams.codec import Codec, build_codec
from streams.publishing import AsyncEventProducer, EventProducer, PublishError
from streams.publishing.client import REPLACE_SECONDS
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.kafka_records import read_all
from tests.support.processes.worker_process import wait_for
from tests.support.proxies.kafka_proxy import ProducerIdRefuser, refused_producer_ids

pytestmark = pytest.mark.topics("account.deletion-requested")

SECTION = "Publishing"
REQUIREMENT = "a fatal error of the Kafka client ends no producer: a new client takes its place"
TIMEOUT = 20.0


@contextmanager
def refusing(topics: Settings) -> Iterator[tuple[ProducerIdRefuser, Settings, Codec]]:
    """Yield a proxy that refuses ids until it is told otherwise, settings with its address, and a codec."""
    with refused_producer_ids(topics.kafka_bootstrap_servers) as (refuser, address):
        codec = build_codec(topics, load_catalogue(topics))
        yield refuser, topics.model_copy(update={"kafka_bootstrap_servers": address}), codec


Publish = Callable[[EventProducer, AccountDeletionRequested], object]
WAYS: dict[str, Publish] = {
    "publish": lambda producer, event: producer.publish(event),
    "send": lambda producer, event: producer.send(event).result(),
    "publish_many": lambda producer, event: producer.publish_many([event]),
}


@pytest.mark.requirement(SECTION, REQUIREMENT)
@pytest.mark.parametrize("way", WAYS)
def test_a_producer_goes_on_when_it_may(
    topics: Settings, way: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The real one lets a line pass once a minute, and another test may have turned it off.
    monkeypatch.setattr("streams.publishing.client.client_logger", logging.getLogger(f"{__name__}.{way}"))
    event = AccountDeletionRequested(account_id="a")
    with refusing(topics) as (refuser, settings, codec), EventProducer(settings, codec, timeout=TIMEOUT) as producer:
        with pytest.raises(PublishError, match="the Kafka client has failed") as failed:
            WAYS[way](producer, event)
        assert "\n" not in str(failed.value)
        if way == "publish":  # with two threads that poll, one may have the report before the other has the error
            assert "Cluster authorization failed" in str(failed.value)
        refuser.refusing = False
        wait_for(lambda: _published(WAYS[way], producer, event), "the producer to publish", 10)
    assert len(read_all(topics, load_catalogue(topics).topic("account.deletion-requested").name, 1)) == 1
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["needs a new client" in record.getMessage() for record in errors] == [True]


def _published(publish: Publish, producer: EventProducer, event: AccountDeletionRequested) -> bool:
    try:
        publish(producer, event)
    except PublishError:
        return False
    return True


@pytest.mark.requirement(SECTION, REQUIREMENT)
async def test_a_producer_of_an_event_loop_goes_on_when_it_may(topics: Settings) -> None:
    event = AccountDeletionRequested(account_id="a")
    with refusing(topics) as (refuser, settings, codec):
        async with AsyncEventProducer(settings, codec, timeout=TIMEOUT) as producer:
            outcomes = await asyncio.gather(*(producer.publish(event) for _ in range(10)), return_exceptions=True)
            assert {type(one) for one in outcomes} == {PublishError}
            refuser.refusing = False
            for _ in range(100):
                try:
                    await producer.publish(event)
                    break
                except PublishError:
                    await asyncio.sleep(0.05)
            assert len(await asyncio.gather(*(producer.publish(event) for _ in range(10)))) == 10
    assert len(read_all(topics, load_catalogue(topics).topic("account.deletion-requested").name, 11)) == 11


@pytest.mark.requirement(SECTION, REQUIREMENT)
def test_refused_again_and_again_it_has_at_most_one_client_a_second(topics: Settings) -> None:
    """The events fail meanwhile, and none of them waits for its time-out."""
    event = AccountDeletionRequested(account_id="a")
    with refusing(topics) as (refuser, settings, codec), EventProducer(settings, codec, timeout=TIMEOUT) as producer:
        started = time.monotonic()
        wait_for(lambda: not _published(WAYS["send"], producer, event) and refuser.refused == 3, "three clients", 10)
        assert time.monotonic() - started >= 2 * REPLACE_SECONDS
