"""A partition that was paused is read again after every way in which its assignment ends."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.settings import Settings
from streams.transport.kafka.group import AssignmentListener, Group
from streams.transport.kafka.partition import PartitionState
from streams.transport.kafka.partitions.positions import Positions
from streams.transport.kafka.rebalance import Rebalance, unassign
from streams.transport.kafka.records import Assignment
from streams.transport.kafka.thread_bridge import ThreadBridge
from tests.support.kafka_records import Answer
from tests.support.processes.worker_process import wait_for

GROUP = Group("high", "streams.high", ("a",), high=50, low=10)
PARTITIONS = [TopicPartition("a", number) for number in (0, 1)]


class Client:
    """Keeps pauses as librdkafka does: they belong to an assigned partition and outlast its assignment."""

    def __init__(self) -> None:
        self.assigned: set[int] = set()
        self.paused: set[int] = set()
        self.end = 100

    @property
    def read(self) -> set[int]:
        """The partitions whose records are fetched."""
        return self.assigned - self.paused

    def incremental_assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned |= {one.partition for one in partitions}

    def incremental_unassign(self, partitions: list[TopicPartition]) -> None:
        self.assigned -= {one.partition for one in partitions}

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {one.partition for one in partitions} & self.assigned

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {one.partition for one in partitions} & self.assigned

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[Answer]:
        assert timeout > 0
        return [Answer(one.topic, one.partition, 7) for one in partitions]

    def commit(self, **_: object) -> None:
        """Accept the commit."""

    def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
        return 0, self.end


class Listener:
    """Does not care about its assignments."""

    on_assigned = on_revoked = on_revoking = None


class Bridge:
    """Stands for an event loop on which no work runs."""

    def post(self, *_: object) -> None:
        """Drop the call."""

    def wait(self, work: Coroutine[Any, Any, None], _: float) -> bool:
        """Do without the work."""
        work.close()
        return True


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def rebalance(client: Client) -> Rebalance:
    """Own two partitions, of which the first is paused."""
    made = Rebalance(GROUP, Settings(), cast("AssignmentListener", Listener), cast("ThreadBridge", Bridge()))
    made.on_assign(cast("Consumer", client), PARTITIONS)
    client.pause([PARTITIONS[0]])
    paused = made.find("a", 0)
    assert paused is not None
    paused.pause(0.0)
    return made


@pytest.mark.parametrize("end", [Rebalance.on_revoke, Rebalance.on_lost])
def test_a_paused_partition_that_comes_back_is_read(
    end: Callable[[Rebalance, Consumer, list[TopicPartition]], None], client: Client, rebalance: Rebalance
) -> None:
    """Its new assignment is not paused, so nobody would resume it."""
    end(rebalance, cast("Consumer", client), PARTITIONS)
    assert client.read == set()
    rebalance.on_assign(cast("Consumer", client), PARTITIONS)
    assert [state.paused for state in rebalance.owned()] == [False, False]
    assert client.read == {0, 1}


@pytest.mark.parametrize("end", [3, 100])
def test_a_paused_partition_whose_position_is_gone_is_read(client: Client, rebalance: Rebalance, end: int) -> None:
    """Whether its log starts over, with a new assignment, or goes on at the position."""
    client.end = end
    positions = Positions(GROUP, Settings(), rebalance)
    positions.reset("a", 0, 50)
    positions._continue_all(cast("Consumer", client), 0.0)
    assert [state.paused for state in rebalance.owned()] == [False, False]
    assert client.read == {0, 1}


def test_an_assignment_that_begins_again_keeps_the_pause(rebalance: Rebalance) -> None:
    """The client keeps it too. It ends once there is room."""
    paused = rebalance.find("a", 0)
    assert paused is not None
    assert rebalance.begin_again(paused, 0).has_room()


@pytest.fixture
def consumer() -> Iterator[Consumer]:
    """Return a client of librdkafka's own broker, which runs in this process."""
    broker = {"test.mock.num.brokers": 1, "bootstrap.servers": "replaced:1", "log_level": 0}
    made = Consumer({**broker, "group.id": "g", "enable.auto.commit": False, "fetch.wait.max.ms": 20})
    yield made
    made.close()


def test_librdkafka_reads_a_paused_partition_after_its_next_assignment(consumer: Consumer) -> None:
    """Without the resume it would not. A partition that it does not know is no error."""
    (broker,) = consumer.list_topics(timeout=10).brokers.values()
    producer = Producer({"bootstrap.servers": f"{broker.host}:{broker.port}", "log_level": 0})
    producer.produce("a", b"x", partition=0)
    assert producer.flush(10) == 0
    first = TopicPartition("a", 0, 0)

    def is_read() -> bool:
        return (message := consumer.poll(0.1)) is not None and message.error() is None

    consumer.incremental_assign([first])
    wait_for(is_read, "it is read", 10)
    consumer.pause([first])
    consumer.resume([TopicPartition("a", 99)])
    unassign(consumer, [PartitionState(Assignment("a", 0), GROUP, paused=True)])
    consumer.incremental_assign([first])
    wait_for(is_read, "it is read again", 10)
