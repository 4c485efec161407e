"""A broker refuses an id to the producer of a worker or of a relay. That is fatal to the client.

Expected: every record that waits gets its answer at once, and the process ends with one line that says why.
"""

import asyncio
from collections.abc import Callable

import pytest

from streams.settings import Settings
from streams.transport.kafka.errors import ProduceError, TransportError
from streams.transport.kafka.producer import RecordProducer
from streams.transport.kafka.records import NewRecord
from tests.support.processes.worker_process import Streams, WorkerProcess
from tests.support.proxies.kafka_proxy import refused_producer_ids

SECTION = "Transport"
REQUIREMENT = "a fatal error of a Kafka client ends the process with its reason; nothing waits for it"
REASON = "Cluster authorization failed"


@pytest.mark.requirement(SECTION, REQUIREMENT)
async def test_all_that_wait_get_an_answer(topics: Settings) -> None:
    """A single record and a batch. The producer reports its end, and refuses further records."""
    told: asyncio.Future[TransportError] = asyncio.get_running_loop().create_future()
    with refused_producer_ids(topics.kafka_bootstrap_servers) as (_, address):
        settings = topics.model_copy(update={"kafka_bootstrap_servers": address})
        producer = RecordProducer(settings, delivery_timeout=60.0, on_fatal=told.set_result)
        await producer.start()
        name = f"{settings.topic_prefix}account.deletion-requested"
        single = await producer.send(name, key=None, value=b"x", headers=())
        batch = await producer.send_all([NewRecord(name, b"k", b"x", ())] * 3)
        assert REASON in str(await asyncio.wait_for(told, 20))
        outcomes = await asyncio.wait_for(batch, 5)
        assert [type(error) for error in outcomes] == [ProduceError] * 3
        with pytest.raises(ProduceError):
            await asyncio.wait_for(single, 5)
        with pytest.raises(ProduceError, match="not started"):
            await producer.produce(name, key=None, value=b"x", headers=())
        await producer.stop()


@pytest.mark.requirement(SECTION, REQUIREMENT)
def test_a_worker_ends(topics: Settings, worker: Callable[..., WorkerProcess]) -> None:
    with refused_producer_ids(topics.kafka_bootstrap_servers) as (_, address):
        one = worker(STREAMS_KAFKA_BOOTSTRAP_SERVERS=address).start(ready=False)
        assert one.wait() == 1
    assert [REASON in str(line) for line in one.lines() if "the worker stops" in str(line)] == [True]


@pytest.mark.requirement(SECTION, REQUIREMENT)
def test_a_relay_ends(topics: Settings, environment: dict[str, str]) -> None:
    with refused_producer_ids(topics.kafka_bootstrap_servers) as (_, address):
        done = Streams({**environment, "STREAMS_KAFKA_BOOTSTRAP_SERVERS": address}).run("relay")
    assert done.returncode == 1
    assert REASON in done.stderr.splitlines()[-1]
