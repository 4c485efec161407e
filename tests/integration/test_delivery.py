"""How events become effects once: single, batch and long handlers, retries, dead letters, limits, poison."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Producer
from sqlalchemy import Engine

from schemas.event import new_event_id
from streams.codec import build_codec
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.integration.apps.trials import (
    BatchTrialRequested,
    LongTrialRequested,
    SingleTrialRequested,
)
from tests.integration.driving import Streams, WorkerProcess, publish, rows, scalar, wait_for
from tests.integration.trial_run import environment, trial

__all__ = ["environment", "trial"]
MakeWorker = Callable[..., WorkerProcess]


def settled(engine: Engine, expected: int) -> bool:
    """Whether so many deliveries have come to their end."""
    count = scalar(engine, "select count(*) from streams.executions where status in ('success', 'failure')")
    return count == expected


def effects(engine: Engine, handler: str = "%") -> list[dict[str, object]]:
    """The rows that handlers wrote, in order."""
    return list(rows(engine, "select * from trials where handler like :handler order by id", handler=handler))


def test_single_handlers_run_once_and_in_the_order_of_their_key(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """200 events over 5 keys, 20 of them published twice: one effect each, in each key's order of publishing."""
    events = [SingleTrialRequested(entity=f"k{number % 5}") for number in range(200)]
    assert publish(trial, [*events, *events[:20]]) == 220
    worker().start()
    wait_for(lambda: settled(engine, 200), "200 deliveries")
    found = effects(engine)
    assert len(found) == 200
    for key in {str(row["entity"]) for row in found}:
        ran = [row["event_id"] for row in found if row["entity"] == key]
        assert ran == [event.event_id for event in events if event.entity == key]


def test_a_failure_is_retried_at_its_time_never_early_and_then_succeeds(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    """Two failures, delays 1 s and 2 s: the third attempt succeeds; only its effect stands; late by under a second."""
    event = SingleTrialRequested(entity="e", plan="fail", times=2)
    worker().start()
    publish(trial, [event])
    wait_for(lambda: settled(engine, 1), "the third attempt")
    (row,) = rows(engine, "select * from streams.executions")
    assert (row["status"], row["attempts"], row["seq"], row["result"]) == ("success", 3, 2, {"attempt": 3})
    assert [effect["attempt"] for effect in effects(engine)] == [3]
    history = row["history"]
    assert isinstance(history, list)
    assert [entry["outcome"] for entry in history] == ["retry", "retry", "success"]
    begun = [datetime.fromisoformat(entry["started_at"]) for entry in history]
    ended = [datetime.fromisoformat(entry["completed_at"]) for entry in history]
    for attempt, delay in ((1, 1.0), (2, 2.0)):
        waited = (begun[attempt] - ended[attempt - 1]).total_seconds()
        assert delay - 0.05 <= waited <= delay + 1.0
    assert streams.json("dlq", "list") == []


def test_an_exhausted_delivery_dies_with_all_headers_and_comes_back_by_replay(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    """Three failures: a dead letter that says so, `on_dead` ran once; replayed it has a fresh budget and succeeds."""
    event = SingleTrialRequested(entity="e", tenant_id="t-7", plan="fail", times=3)
    worker().start()
    publish(trial, [event])
    wait_for(lambda: settled(engine, 1), "death")
    letter = only(streams.json("dlq", "list"))
    assert letter["event_id"] == str(event.event_id)
    assert (letter["handler"], letter["reason"], letter["attempts"]) == ("try-single", "exhausted", 3)
    assert (letter["error_type"], letter["error_message"]) == ("ValueError", "attempt 3 fails")
    assert letter["topic"] == load_catalogue(trial).of(SingleTrialRequested).name
    assert [row["handler"] for row in effects(engine)] == ["dead: ValueError"]
    shown = streams.json("dlq", "show", str(letter["id"]))
    assert "kafka_dlt-original-topic" in json.dumps(shown)
    with engine.begin() as connection:
        connection.exec_driver_sql("delete from trials")
    streams.json("dlq", "replay", str(letter["id"]))
    # The replay's budget is fresh, so its attempts count from 1 and the trial fails three times more: it dies again.
    wait_for(lambda: streams.json("dlq", "list"), "the second death")
    (row,) = rows(engine, "select status, attempts, replays from streams.executions")
    assert row == {"status": "failure", "attempts": 3, "replays": 1}


def test_a_permanent_failure_dies_at_once_and_a_broken_on_dead_is_told_with_it(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """One attempt; the row's error names both the failure and what broke in `on_dead`."""
    publish(trial, [SingleTrialRequested(entity="broken-on-dead", plan="permanent", times=9)])
    worker().start()
    wait_for(lambda: settled(engine, 1), "death")
    (row,) = rows(engine, "select attempts, reason, error from streams.executions")
    assert (row["attempts"], row["reason"]) == (1, "permanent")
    assert "the trial is impossible" in str(row["error"])
    assert "on_dead broke" in str(row["error"])


def test_a_failed_batch_is_halved_until_the_bad_event_stands_alone(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """100 events of one key, one of them bad: 99 effects, one dead letter, order kept, and batches were used."""
    events = [
        BatchTrialRequested(entity="e", plan="permanent" if number == 37 else "succeed", times=9)
        for number in range(100)
    ]
    publish(trial, events)
    worker().start()
    wait_for(lambda: settled(engine, 100), "100 deliveries")
    good = [event.event_id for event in events if event.plan == "succeed"]
    found = effects(engine, "try-batch")
    assert [row["event_id"] for row in found] == good
    assert max(int(str(row["batch"])) for row in found) >= 16
    assert scalar(engine, "select count(*) from streams.dead_letters") == 1


def test_a_long_handler_is_acknowledged_at_its_claim_and_runs_once(
    trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    """Three long events on one partition, 2 s each: the lag is gone while they run; each effect comes once."""
    publish(trial, [LongTrialRequested(entity=f"e{number}", plan="sleep", seconds=2) for number in range(3)])
    worker().start()
    wait_for(
        lambda: scalar(engine, "select count(*) from streams.executions where status = 'started'") == 3, "3 claims"
    )
    topic = load_catalogue(trial).of(LongTrialRequested).name

    def lag() -> int:
        found = streams.json("lag")
        assert isinstance(found, list)
        return sum(row["lag"] for row in found if row["topic"] == topic)

    wait_for(lambda: lag() == 0, "the offsets to be committed")
    wait_for(lambda: settled(engine, 3), "3 ends")
    assert [row["handler"] for row in effects(engine)].count("try-long") == 3
    assert scalar(engine, "select count(*) from streams.leases") == 0


def test_two_long_events_on_one_resource_run_one_after_the_other(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """The second finds the resource leased, is deferred without an attempt, and runs when the first has ended."""
    same = [LongTrialRequested(entity="same", plan="sleep", seconds=1.5) for _ in range(2)]
    publish(trial, same[:1])
    first = worker().start()
    wait_for(lambda: scalar(engine, "select count(*) from streams.leases") == 1, "the first claim")
    publish(trial, same[1:])
    worker().start()
    wait_for(lambda: settled(engine, 2), "both")
    order = [row["handler"] for row in effects(engine)]
    assert order == ["try-long: began", "try-long", "try-long: began", "try-long"]
    assert {row["attempts"] for row in rows(engine, "select attempts from streams.executions")} == {1}
    assert first.stop() == 0


def test_the_soft_limit_cancels_rolls_back_and_lets_the_handler_tidy_up(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """A sleep over the soft limit: no effect of it, `on_soft_limit` ran with a session of its own, then it succeeds."""
    publish(trial, [SingleTrialRequested(entity="e", plan="sleep", seconds=30, times=1)])
    worker().start()
    wait_for(lambda: settled(engine, 1), "the second attempt")
    assert [row["handler"] for row in effects(engine)] == ["limit: SoftTimeLimitExceeded", "try-single"]


def test_the_hard_limit_leaves_a_stubborn_handler_behind_and_others_go_on(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """A handler that swallows its cancellation for 6 s: its attempt is fenced at 2 s, a neighbour is not held up."""
    stubborn = SingleTrialRequested(entity="stubborn", plan="swallow", seconds=6, times=1)
    worker().start()
    publish(trial, [stubborn, SingleTrialRequested(entity="neighbour")])
    wait_for(lambda: settled(engine, 2), "both")
    found = rows(engine, "select attempts, history from streams.executions where event_id = :id", id=stubborn.event_id)
    assert found[0]["attempts"] == 2
    assert "TimeLimitExceeded" in json.dumps(found[0]["history"])
    time.sleep(0)
    assert [row["entity"] for row in effects(engine)].count("stubborn") == 1


def test_code_that_never_awaits_is_killed_in_its_process_at_the_limit(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """60 s of spinning in `work.compute`: cancelled at the soft limit, then the next attempt succeeds."""
    publish(trial, [SingleTrialRequested(entity="e", plan="compute", seconds=60, times=1)])
    one = worker().start()
    wait_for(lambda: settled(engine, 1), "the second attempt")
    assert [row["handler"] for row in effects(engine)] == ["limit: SoftTimeLimitExceeded", "try-single"]
    assert one.stop() == 0


@pytest.mark.parametrize("damage", ["not-avro", "unknown-schema", "invalid", "null", "old-id", "random-id"])
def test_what_no_handler_can_be_given_dies_untouched_and_the_partition_goes_on(
    damage: str, trial: Settings, engine: Engine, worker: MakeWorker, streams: Streams
) -> None:
    """The bytes as they came, the reason named; the good event behind it on the same partition succeeds."""
    catalogue = load_catalogue(trial)
    codec = build_codec(trial, catalogue)
    good = codec.encode(SingleTrialRequested(entity="e"))
    ancient = new_event_id(round((datetime.now(tz=UTC) - timedelta(days=40)).timestamp() * 1000))
    bad: dict[str, tuple[bytes | None, str]] = {
        "not-avro": (b"\xde\xad\xbe\xef, surely no Avro", "decode"),
        "unknown-schema": (b"\x00\x00\x00\xff\xffrest", "unknown-schema"),
        "invalid": (
            codec.encode(SingleTrialRequested(entity="e").model_copy(update={"plan": "no such plan"})).value,
            "validation",
        ),
        "null": (None, "decode"),
        "old-id": (codec.encode(SingleTrialRequested(event_id=ancient, entity="e")).value, "expired"),
        "random-id": (codec.encode(SingleTrialRequested(event_id=uuid4(), entity="e")).value, "bad-event-id"),
    }
    value, reason = bad[damage]
    producer = Producer({"bootstrap.servers": trial.kafka_bootstrap_servers})
    producer.produce(good.topic, key=b"e", value=value, partition=0, headers=[("x-mine", b"\x00\xff")])
    producer.produce(good.topic, key=b"e", value=good.value, partition=0, headers=list(good.headers))
    assert producer.flush(10) == 0
    worker().start()
    wait_for(lambda: settled(engine, 1), "the good event")
    letter = only(wait_for(lambda: streams.json("dlq", "list"), "the dead letter"))
    assert (letter["reason"], letter["partition"], letter["offset"]) == (reason, 0, 0)
    assert letter["handler"] is None
    (row,) = rows(engine, "select dlq_topic, dlq_partition, dlq_offset from streams.dead_letters")
    assert dlq_value(trial, row) == (value, b"\x00\xff")


def only(found: object) -> dict[str, object]:
    """The one row of a command's answer."""
    assert isinstance(found, list)
    (row,) = found
    assert isinstance(row, dict)
    return row


def dlq_value(settings: Settings, place: dict[str, object]) -> tuple[bytes | None, bytes]:
    """Value and own header of a record, read from Kafka without the pipeline's code."""
    from confluent_kafka import Consumer, TopicPartition  # noqa: PLC0415

    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "looks-only"})
    consumer.assign(
        [TopicPartition(str(place["dlq_topic"]), int(str(place["dlq_partition"])), int(str(place["dlq_offset"])))]
    )
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    value, headers = message.value(), message.headers() or []
    return value, dict(headers)["x-mine"]  # type: ignore[return-value]  # bytes as produced


def test_sigterm_hands_long_work_on_and_another_worker_ends_it(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """The leaving worker ends within its bound with code 0; no attempt is burned, the effect comes once."""
    publish(trial, [LongTrialRequested(entity="e", plan="sleep", seconds=8, times=1)])
    first = worker(STREAMS_DRAIN_TIMEOUT="5s").start()
    wait_for(lambda: len(effects(engine)) == 1, "the first step")
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 15
    worker().start()
    wait_for(lambda: settled(engine, 1), "the end")
    (row,) = rows(engine, "select status, attempts, lost_leases from streams.executions")
    assert row == {"status": "success", "attempts": 1, "lost_leases": 0}
    assert [row["handler"] for row in effects(engine)].count("try-long") == 1


def test_a_delivery_that_kills_its_worker_three_times_is_a_dead_letter(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """Each time the lease runs out and the sweep of the next worker hands it on; the third time it dies, `crashed`."""
    publish(trial, [LongTrialRequested(entity="e", plan="kill", times=9)])
    for _ in range(3):
        one = worker().start(ready=False)
        assert one.wait(40) == -9
    worker().start()
    wait_for(lambda: settled(engine, 1), "death")
    (row,) = rows(engine, "select status, reason, lost_leases from streams.executions")
    assert row == {"status": "failure", "reason": "crashed", "lost_leases": 3}
    assert scalar(engine, "select reason from streams.dead_letters") == "crashed"


def test_a_record_as_large_as_its_topic_takes_still_fits_into_its_dlq(
    trial: Settings, engine: Engine, worker: MakeWorker
) -> None:
    """Headers are added on the way: the copy is larger than the record, and neither broker nor client may refuse it."""
    publish(trial, [SingleTrialRequested(entity="e", tenant_id="t" * 1_000_000, plan="permanent", times=9)])
    worker().start()
    wait_for(lambda: settled(engine, 1), "the large record's death")
    assert scalar(engine, "select reason from streams.dead_letters") == "permanent"
