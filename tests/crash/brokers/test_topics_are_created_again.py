"""What others do to a topic under a running worker: deleted and created again, transactions, deleted records."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.faults.group_protocols import both_protocols
from tests.support.local_stack.cluster import admin_client
from tests.support.local_stack.stack import Stack
from tests.support.processes.transport_worker import Scene
from tests.support.processes.worker_process import wait_for


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(stack, tmp_path, partitions=1)
    yield made
    made.end()


def create_again(scene: Scene) -> None:
    """Delete the topic and create it again, as soon as the broker allows it."""
    admin: AdminClient = admin_client(scene.servers)
    admin.delete_topics([scene.topic])[scene.topic].result(10)
    deadline = time.monotonic() + 10
    while True:
        try:
            admin.create_topics([NewTopic(scene.topic, scene.partitions, 1)])[scene.topic].result(10)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def settled_all(scene: Scene, values: list[str]) -> Callable[[], bool]:
    return lambda: set(values) <= scene.settled().keys()


@pytest.mark.requirement("Faults of others", "c03: a topic is deleted and created again under a running worker")
@both_protocols
@pytest.mark.parametrize("records", [5, 100], ids=["fewer", "more"])
def test_a_topic_that_is_created_again_is_read_from_its_start(scene: Scene, protocol: str, records: int) -> None:
    """Every record of the new topic is settled, also where the former position is valid in it. The worker goes on."""
    worker = scene.start(STREAMS_GROUP_PROTOCOL=protocol)
    scene.produce([f"old-{number}" for number in range(45)])
    wait_for(lambda: scene.committed() == [45], "the first topic is read", 60)
    create_again(scene)
    new = [f"new-{number}" for number in range(records)]
    scene.produce(new)
    wait_for(settled_all(scene, new), "the new topic is read whole", 30)
    wait_for(lambda: scene.committed() == [records], "and committed", 10)
    assert worker.process.poll() is None


@pytest.mark.requirement("Faults of others", "c02: control and aborted records are no lag")
def test_aborted_records_at_the_end_are_committed(scene: Scene) -> None:
    """Five records are settled, seven aborted ones and the markers are skipped, and the lag is zero."""
    worker = scene.start()
    producer = Producer({"bootstrap.servers": scene.servers, "transactional.id": scene.topic})
    producer.init_transactions()
    for kind, count in (("kept", 5), ("aborted", 7)):
        producer.begin_transaction()
        for number in range(count):
            producer.produce(scene.topic, f"{kind}-{number}".encode(), partition=0)
        producer.flush(10)
        producer.commit_transaction() if kind == "kept" else producer.abort_transaction()
    wait_for(lambda: scene.committed() == [14], "the offset is after the last marker", 60)
    assert scene.settled() == {f"kept-{number}": 1 for number in range(5)}
    wait_for(
        lambda: [(one["current"], one["end"]) for one in worker.state()["lag"]] == [(14, 14)], "there is no lag", 5
    )


@pytest.mark.requirement("Faults of others", "c10: what retention deleted unread is counted and logged")
@both_protocols
def test_records_that_were_deleted_unread_are_counted(scene: Scene, protocol: str) -> None:
    """Ten are settled; eight more are deleted while no worker runs. The next one counts eight and reads the rest."""
    first = scene.start(STREAMS_GROUP_PROTOCOL=protocol)
    scene.produce([f"a-{number}" for number in range(10)])
    wait_for(lambda: scene.committed() == [10], "ten are settled", 60)
    assert first.terminate() == 0
    scene.produce([f"b-{number}" for number in range(10)])
    deleted = admin_client(scene.servers).delete_records([TopicPartition(scene.topic, 0, 18)])
    for answer in deleted.values():
        answer.result(10)
    second = scene.start(STREAMS_GROUP_PROTOCOL=protocol)
    wait_for(settled_all(scene, ["b-8", "b-9"]), "what is left is settled", 60)
    wait_for(lambda: scene.committed() == [20], "and committed", 5)
    assert second.state()["activity"][0]["deleted_unread"] == {scene.topic: 8}
    assert "records were deleted by retention before they were read" in second.text()
