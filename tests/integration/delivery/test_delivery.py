"""Each event has one effect: single, batch and long handlers, retries, dead letters, time limits, poison records.

One worker runs all of them; each test checks its own events.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from schemas.event import new_event_id
from streams.codec import build_codec
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.integration.conftest import Stack, own_environment
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested
from tests.support.processes.worker_process import rows, scalar, wait_for
from tests.support.trial_fixtures import TrialRun, trials_running


@pytest.fixture(scope="module")
def run(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrialRun]:
    """The worker."""
    folder = tmp_path_factory.mktemp("delivery")
    with own_environment(stack, template, folder) as environment, trials_running(environment, folder) as run:
        yield run


def handlers(effects: Sequence[dict[str, object]]) -> list[object]:
    """Return the handlers of the effects."""
    return [row["handler"] for row in effects]


@pytest.mark.requirement("Delivery", "single handlers: once, in the order of their key")
def test_single_handlers_run_once_and_in_the_order_of_their_key(run: TrialRun) -> None:
    """200 events over 5 keys, 20 of them published twice: one effect each, in each key's order of publishing."""
    events = [SingleTrialRequested(entity=f"k{number % 5}") for number in range(200)]
    run.publish(*events, *events[:20])
    assert len(run.ended(*events)) == 200
    found = run.effects(*events)
    assert len(found) == 200
    for key in {str(row["entity"]) for row in found}:
        ran = [row["event_id"] for row in found if row["entity"] == key]
        assert ran == [event.event_id for event in events if event.entity == key]


@pytest.mark.requirement("Delivery", "retries at their time, never early")
def test_a_failure_is_retried_at_its_time_never_early_and_then_succeeds(run: TrialRun) -> None:
    """Two failures with delays of 1 s and 2 s: only the third attempt has an effect, less than a second late."""
    event = SingleTrialRequested(entity="e", plan="fail", times=2)
    run.publish(event)
    (row,) = run.ended(event)
    assert (row["status"], row["attempts"], row["seq"], row["result"]) == ("success", 3, 2, {"attempt": 3})
    assert [effect["attempt"] for effect in run.effects(event)] == [3]
    history = row["history"]
    assert isinstance(history, list)
    assert [entry["outcome"] for entry in history] == ["retry", "retry", "success"]
    begun = [datetime.fromisoformat(entry["started_at"]) for entry in history]
    ended = [datetime.fromisoformat(entry["completed_at"]) for entry in history]
    for attempt, delay in ((1, 1.0), (2, 2.0)):
        waited = (begun[attempt] - ended[attempt - 1]).total_seconds()
        assert delay - 0.05 <= waited <= delay + 1.0
    assert run.letters(event) == []


@pytest.mark.requirement("Delivery", "a DLQ with all headers, replay with a fresh budget")
@pytest.mark.requirement("Publishing", "relays in the workers or `streams relay`")
def test_an_exhausted_delivery_dies_with_all_headers_and_comes_back_by_replay(run: TrialRun) -> None:
    """Three failures: a dead letter, and `on_dead` ran once. A replay starts with all attempts."""
    event = SingleTrialRequested(entity="e", tenant_id="t-7", plan="fail", times=3)
    run.publish(event)
    run.ended(event)
    (letter,) = run.letters(event)
    assert letter["event_id"] == str(event.event_id)
    assert (letter["handler"], letter["reason"], letter["attempts"]) == ("try-single", "exhausted", 3)
    assert (letter["error_type"], letter["error_message"]) == ("ValueError", "attempt 3 fails")
    assert letter["topic"] == load_catalogue(run.settings).of(SingleTrialRequested).name
    assert handlers(run.effects(event)) == ["dead: ValueError"]
    shown = run.streams.json("dlq", "show", str(letter["id"]))
    assert "kafka_dlt-original-topic" in json.dumps(shown)
    run.streams.json("dlq", "replay", str(letter["id"]))
    # The attempts of the replay count from 1, so the trial fails three times again and is dead-lettered again.
    deaths = "select count(*) from streams.dead_letters where event_id = :id"
    wait_for(lambda: scalar(run.engine, deaths, id=event.event_id) == 2, "the second dead letter")
    (row,) = run.ended(event)
    assert (row["status"], row["attempts"], row["replays"]) == ("failure", 3, 1)


@pytest.mark.requirement("Delivery", "`on_dead`, and its own failure")
def test_a_permanent_failure_dies_at_once_and_a_broken_on_dead_is_told_with_it(run: TrialRun) -> None:
    """There is one attempt. The error of the row names the failure and the error of `on_dead`."""
    event = SingleTrialRequested(entity="broken-on-dead", plan="permanent", times=9)
    run.publish(event)
    (row,) = run.ended(event)
    assert (row["attempts"], row["reason"]) == (1, "permanent")
    assert "the trial is impossible" in str(row["error"])
    assert "on_dead broke" in str(row["error"])


@pytest.mark.requirement("Delivery", "batch handlers: halved until the bad event stands alone")
def test_a_failed_batch_is_halved_until_the_bad_event_stands_alone(run: TrialRun) -> None:
    """100 events of one key, one of them bad: 99 effects, one dead letter, order kept, and batches were used."""
    events = [
        BatchTrialRequested(entity="e", plan="permanent" if number == 37 else "succeed", times=9)
        for number in range(100)
    ]
    run.publish(*events)
    run.ended(*events)
    good = [event for event in events if event.plan == "succeed"]
    found = [row for row in run.effects(*events) if row["handler"] == "try-batch"]
    assert [row["event_id"] for row in found] == [event.event_id for event in good]
    assert max(int(str(row["batch"])) for row in found) >= 16
    dead = "select event_id from streams.dead_letters where event_id = any(:ids)"
    ids = [event.event_id for event in events]
    assert [row["event_id"] for row in rows(run.engine, dead, ids=ids)] == [ids[37]]


@pytest.mark.requirement("Delivery", "long handlers: acknowledged at their claim, run once")
def test_a_long_handler_is_acknowledged_at_its_claim_and_runs_once(run: TrialRun) -> None:
    """Three long events on one partition, 3 s each: the lag is 0 while they run, and each has one effect."""
    events = [LongTrialRequested(entity=f"e{number}", plan="sleep", seconds=3) for number in range(3)]
    run.publish(*events)
    ids = [event.event_id for event in events]
    claimed = "select count(*) from streams.executions where event_id = any(:ids) and status = 'started'"
    wait_for(lambda: scalar(run.engine, claimed, ids=ids) == 3, "3 claims")
    topic = load_catalogue(run.settings).of(LongTrialRequested).name

    def lag() -> int:
        found = run.streams.json("lag")
        assert isinstance(found, list)
        return sum(row["lag"] for row in found if row["topic"] == topic)

    wait_for(lambda: lag() == 0, "the offsets to be committed")
    run.ended(*events)
    assert handlers(run.effects(*events)).count("try-long") == 3
    left = "select count(*) from streams.leases where event_id = any(:ids)"
    assert scalar(run.engine, left, ids=ids) == 0


@pytest.mark.requirement("Delivery", "soft limit")
def test_the_soft_limit_cancels_rolls_back_and_lets_the_handler_tidy_up(run: TrialRun) -> None:
    """A sleep over the soft limit has no effect; `on_soft_limit` runs with its own session; the retry succeeds."""
    event = SingleTrialRequested(entity="e", plan="sleep", seconds=30, times=1)
    run.publish(event)
    run.ended(event)
    assert handlers(run.effects(event)) == ["limit: SoftTimeLimitExceeded", "try-single"]


@pytest.mark.requirement("Delivery", "hard limit")
def test_the_hard_limit_leaves_a_stubborn_handler_behind_and_others_go_on(run: TrialRun) -> None:
    """A handler swallows its cancellation for 6 s: its attempt is fenced at 2 s, and another event is not delayed."""
    stubborn = SingleTrialRequested(entity="stubborn", plan="swallow", seconds=6, times=1)
    neighbour = SingleTrialRequested(entity="neighbour")
    run.publish(stubborn, neighbour)
    run.ended(neighbour)
    (row,) = run.ended(stubborn)
    assert row["attempts"] == 2
    assert "TimeLimitExceeded" in json.dumps(row["history"])
    assert handlers(run.effects(stubborn)).count("try-single") == 1


@pytest.mark.requirement("Delivery", "hard limit")
def test_code_that_never_awaits_is_killed_in_its_process_at_the_limit(run: TrialRun) -> None:
    """A loop of 60 s in `work.compute` is cancelled at the soft limit; the next attempt succeeds."""
    event = SingleTrialRequested(entity="e", plan="compute", seconds=60, times=1)
    run.publish(event)
    run.ended(event)
    assert handlers(run.effects(event)) == ["limit: SoftTimeLimitExceeded", "try-single"]


@pytest.mark.requirement(
    "Bad input",
    "no Avro, unknown schema id, failed validation: DLQ, bytes as they came, the partition goes on",
)
@pytest.mark.parametrize("damage", ["not-avro", "unknown-schema", "invalid", "null", "old-id", "random-id"])
def test_what_no_handler_can_be_given_dies_untouched_and_the_partition_goes_on(damage: str, run: TrialRun) -> None:
    """The dead letter has the same bytes and the reason. The next event of the partition succeeds."""
    codec = build_codec(run.settings, load_catalogue(run.settings))
    after = SingleTrialRequested(entity="e")
    good = codec.encode(after)
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
    offset = produced(run.settings, good.topic, value)
    run.publish(after)
    run.ended(after)
    letters = wait_for(lambda: letters_of(run, offset), "the dead letter")
    assert [(row["reason"], row["handler"]) for row in letters] == [(reason, None)]
    assert dlq_value(run.settings, letters[0]) == (value, b"\x00\xff")


def produced(settings: Settings, topic: str, value: bytes | None) -> TopicPartition:
    """Produce a record to the partition of the key `e`, with its own header; return its position."""
    placed: list[TopicPartition] = []

    def report(error: object, message: Message) -> None:
        assert error is None
        placed.append(TopicPartition(topic, message.partition() or 0, message.offset() or 0))

    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(topic, key=b"e", value=value, headers=[("x-mine", b"\x00\xff")], on_delivery=report)
    assert producer.flush(10) == 0
    return placed[0]


def letters_of(run: TrialRun, place: TopicPartition) -> Sequence[dict[str, object]]:
    """Return the dead letters of the record at this position."""
    where = 'topic = :topic and "partition" = :partition and "offset" = :offset'
    return rows(
        run.engine,
        f"select * from streams.dead_letters where {where}",
        topic=place.topic,
        partition=place.partition,
        offset=place.offset,
    )


def dlq_value(settings: Settings, place: dict[str, object]) -> tuple[bytes | None, bytes]:
    """Return value and own header of a record, read from Kafka without the pipeline's code."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": "looks-only"})
    consumer.assign(
        [TopicPartition(str(place["dlq_topic"]), int(str(place["dlq_partition"])), int(str(place["dlq_offset"])))]
    )
    message = consumer.poll(10)
    consumer.close()
    assert message is not None
    value, headers = message.value(), message.headers() or []
    return value, dict(headers)["x-mine"]  # type: ignore[return-value]  # bytes as produced


def test_a_record_as_large_as_its_topic_takes_still_fits_into_its_dlq(run: TrialRun) -> None:
    """The copy has more headers than the record, and neither broker nor client may reject it."""
    event = SingleTrialRequested(entity="e", tenant_id="t" * 1_000_000, plan="permanent", times=9)
    run.publish(event)
    run.ended(event)
    dead = "select reason from streams.dead_letters where event_id = :id"
    assert scalar(run.engine, dead, id=event.event_id) == "permanent"
