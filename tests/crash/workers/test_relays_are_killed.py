"""Three relays run under load. One of them, active or standby, is killed and restarted several times.

Expected: no event is lost. The first occurrences of each key are in the order of publishing. Only records that were in
flight at a kill are there twice.
"""

import random
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from schemas import DocumentDeleted
from streams.codec import build_codec
from streams.database.tables import outbox
from streams.publishing.outbox.outbox import outbox_row
from streams.publishing.outbox.relay import BATCH_ROWS
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.kafka_records import end_offsets, read_all
from tests.support.processes.relay_process import RelayProcess
from tests.support.processes.worker_process import scalar, wait_for

EVENTS, KEYS, AT_ONCE = 60_000, 50, 500
KILLS = 12
BETWEEN = (0.0, 1.2)
"""Seconds before each kill, from and to."""
IN_FLIGHT = 3 * BATCH_ROWS
"""Rows that a killed relay may have sent in its open transaction: two batches, and the rows settled before them."""


@pytest.mark.requirement("Publishing", "killing relays at any moment loses none")
@pytest.mark.timeout(420)
def test_no_event_is_lost_and_keys_keep_their_order(
    topics: Settings, engine: Engine, environment: dict[str, str], tmp_path: Path
) -> None:
    chance = random.Random(7)
    codec = build_codec(topics, load_catalogue(topics))
    events = [
        DocumentDeleted(document_id=f"k{number % KEYS}", dataset_id=str(number), doc_form="text_model")
        for number in range(EVENTS)
    ]
    unsent = iter([events[start : start + AT_ONCE] for start in range(0, EVENTS, AT_ONCE)])

    def publish(transactions: int) -> None:
        for _, part in zip(range(transactions), unsent, strict=False):
            with engine.begin() as connection:
                connection.execute(insert(outbox), [outbox_row(codec.encode(event)) for event in part])

    def start(number: int) -> RelayProcess:
        return RelayProcess(environment, tmp_path / f"relay-{number}")

    relays = [start(number) for number in range(3)]
    try:
        wait_for(lambda: any(one.has_logged("this relay is active") for one in relays), "one to be active")
        for number in range(KILLS):
            publish(EVENTS // AT_ONCE // KILLS)
            time.sleep(chance.uniform(*BETWEEN))
            # Every second time the relay that became active last, otherwise a random one.
            victim = max(range(3), key=lambda place: _activity(relays[place])) if number % 2 else chance.randrange(3)
            relays[victim].process.kill()
            relays[victim].process.wait(10)
            relays[victim] = start(3 + number)
        wait_for(lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be empty", 120)
        wait_for(lambda: all("this relay" in one.log.read_text() for one in relays), "all relays to be up")
        assert sorted(one.stop() for one in relays) == [0, 0, 0]
    finally:
        for one in relays:
            one.process.kill()
    topic = f"{topics.topic_prefix}document.deleted"
    received = [codec.decode(topic, one.value()) for one in read_all(topics, topic, end_offsets(topics, topic))]
    times = Counter(event.event_id for event in received)
    assert set(times) == {event.event_id for event in events}
    assert sum(times.values()) - EVENTS <= KILLS * IN_FLIGHT
    first = {event.event_id: event for event in reversed(received)}
    order: dict[str, list[int]] = {}
    for event_id in dict.fromkeys(event.event_id for event in received):
        found = first[event_id]
        assert isinstance(found, DocumentDeleted)
        order.setdefault(found.document_id, []).append(int(found.dataset_id))
    assert all(numbers == sorted(numbers) for numbers in order.values())


def _activity(one: RelayProcess) -> float:
    """Return when the log of an active relay last changed; 0 for a standby."""
    return one.log.stat().st_mtime if one.is_active() else 0.0
