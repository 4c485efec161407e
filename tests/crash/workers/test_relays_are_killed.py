"""Three relays under load; again and again one of them, the active one or a stand-by, is killed and started anew.

Expected: nothing is lost; of each key the first occurrences are in the order of publishing; what is there twice was
under way when a relay died, and no more than that.
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
"""Seconds from one relay's being up to the next kill."""
UNDER_WAY = 3 * BATCH_ROWS
"""Rows that a relay may have sent in the transaction in which it dies: two batches, and what was settled before."""


@pytest.mark.timeout(420)
def test_none_is_lost_and_keys_keep_their_order(
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
        wait_for(lambda: any(one.says("this relay is active") for one in relays), "one to be active")
        for number in range(KILLS):
            publish(EVENTS // AT_ONCE // KILLS)
            time.sleep(chance.uniform(*BETWEEN))
            # Whichever was told last to be active, every second time; else any.
            victim = max(range(3), key=lambda place: _activity(relays[place])) if number % 2 else chance.randrange(3)
            relays[victim].process.kill()
            relays[victim].process.wait(10)
            relays[victim] = start(3 + number)
        wait_for(lambda: scalar(engine, "select count(*) from streams.outbox") == 0, "the outbox to be empty", 120)
        wait_for(lambda: all("this relay" in one.log.read_text() for one in relays), "all of them to be up")
        assert sorted(one.stop() for one in relays) == [0, 0, 0]
    finally:
        for one in relays:
            one.process.kill()
    topic = f"{topics.topic_prefix}document.deleted"
    came = [codec.decode(topic, one.value()) for one in read_all(topics, topic, end_offsets(topics, topic))]
    times = Counter(event.event_id for event in came)
    assert set(times) == {event.event_id for event in events}
    assert sum(times.values()) - EVENTS <= KILLS * UNDER_WAY
    first = {event.event_id: event for event in reversed(came)}
    order: dict[str, list[int]] = {}
    for event in dict.fromkeys(event.event_id for event in came):
        found = first[event]
        assert isinstance(found, DocumentDeleted)
        order.setdefault(found.document_id, []).append(int(found.dataset_id))
    assert all(numbers == sorted(numbers) for numbers in order.values())


def _activity(one: RelayProcess) -> float:
    """When its log last changed, if the last that it said is that it is active; else 0."""
    told = one.log.read_text()
    active = told.rfind("this relay is active") > told.rfind("this relay stands by")
    return one.log.stat().st_mtime if active else 0.0
