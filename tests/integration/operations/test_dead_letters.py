"""Dead letters on real servers: found, read, replayed once and to one handler, and indexed again."""

import base64
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from sqlalchemy import Engine, insert, text, update

from schemas import DocumentDeleted
from schemas.event import event_time
from streams import headers
from streams.codec import EncodedEvent, build_codec
from streams.database.tables import dead_letters, executions
from streams.delivery.dead_letter import DeadLetterInfo
from streams.delivery.errors import Reason
from streams.delivery.ledger.settle import INSERT_DEAD_LETTER
from streams.delivery.settlement.dead_letters.dead_letter import dead_record
from streams.observability.error_text import ErrorText
from streams.operations.dead_letters.index import DeadLetterFilter, find_dead_letters, list_dead_letters
from streams.operations.dead_letters.rebuild import Rebuilt, index_row, rebuild
from streams.operations.dead_letters.records import read_record, read_records
from streams.operations.dead_letters.replay import Replay, ReplayRefusedError, origin_timestamp, replay
from streams.operations.topics.apply import apply, plan_topics
from streams.publishing.outbox.outbox import headers_from_json
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings
from streams.topics import Catalogue
from streams.transport.kafka.client import client_config
from streams.transport.kafka.records import Record
from tests.support.cli import Commands
from tests.support.local_stack.cluster import delete_topic
from tests.support.processes.worker_process import rows, scalar

pytestmark = pytest.mark.topics("document.deleted", "dataset.deleted")

HANDLER = "clean-document"
LIST_FIELDS = (
    "id",
    "topic",
    "partition",
    "offset",
    "event_id",
    "handler",
    "reason",
    "error_type",
    "error_message",
    "attempts",
    "first_failed_at",
    "died_at",
)


@dataclass(frozen=True)
class Dead:
    """A dead letter as a delivery creates it: its record on Kafka, its index row, its execution."""

    id: str
    event: DocumentDeleted
    encoded: EncodedEvent


Kill = Callable[..., Dead]


@pytest.fixture
def catalogue(settings: Settings) -> Catalogue:
    return build_catalogue(settings)


@pytest.fixture
def kill(topics: Settings, catalogue: Catalogue, engine: Engine) -> Kill:
    """Creates one dead letter."""
    codec = build_codec(topics, catalogue)

    def make(*, status: str | None = "failure", reason: Reason = Reason.EXHAUSTED, readable: bool = True) -> Dead:
        event = DocumentDeleted(tenant_id="t1", document_id=uuid4().hex, dataset_id="s", doc_form="text_model")
        encoded = codec.encode(event)
        came = Record(
            encoded.topic,
            0,
            int(uuid4().int % 1000),
            1_700_000_000_000,
            "CreateTime",
            encoded.key,
            encoded.value if readable else b"\xffnot avro",
            encoded.headers,
        )
        death = DeadLetterInfo(
            reason=reason,
            error=ErrorText("builtins.OSError", "no such file", "Traceback …"),
            attempts=4,
            first_failed_at=1_700_000_001_000,
            died_at=1_700_000_009_000,
            group=catalogue.group("low"),
            handler=HANDLER if readable else None,
            event_id=event.event_id if readable else None,
        )
        out = dead_record(came, catalogue.dlq(encoded.topic), death)
        place = produce(topics, out.topic, out.key, out.value, out.headers)
        row = index_row(Record(*place, 1_700_000_009_000, "CreateTime", out.key, out.value, out.headers), came.topic)
        with engine.begin() as connection:
            tenant = event.tenant_id if readable else None
            connection.execute(insert(dead_letters).values({**row, "tenant_id": tenant}))
            if readable and status is not None:
                connection.execute(insert(executions).values(execution(event, came, status)))
        return Dead(str(row["id"]), event, encoded)

    return make


def produce(
    settings: Settings, topic: str, key: bytes | None, value: bytes | None, sent: Sequence[tuple[str, bytes | None]]
) -> tuple[str, int, int]:
    places: list[tuple[str, int, int]] = []
    producer = Producer(client_config(settings))
    producer.produce(
        topic,
        value,
        key,
        headers=list(sent),
        on_delivery=lambda error, message: (
            places.append((message.topic() or "", message.partition() or 0, message.offset() or 0))
            if error is None
            else pytest.fail(str(error))
        ),
    )
    assert producer.flush(10) == 0
    return places[0]


def execution(event: DocumentDeleted, came: Record, status: str) -> dict[str, object]:
    made_at = event_time(event.event_id)
    assert made_at is not None
    return {
        "day": made_at.date(),
        "event_id": event.event_id,
        "handler": HANDLER,
        "task_id": uuid4(),
        "topic": came.topic,
        "partition": came.partition,
        "offset": came.offset,
        "key": came.key,
        "tenant_id": event.tenant_id,
        "pool": "low",
        "status": status,
        "seq": 4,
        "attempts": 4,
        "created_at": made_at,
        "completed_at": datetime.now(tz=UTC),
        "error": "no such file",
        "reason": "exhausted",
    }


def replay_one(engine: Engine, settings: Settings, catalogue: Catalogue, dead: Dead) -> Replay:
    with engine.begin() as connection:
        (letter,) = find_dead_letters(connection, [dead.id])
        return replay(connection, catalogue, letter, read_record(settings, letter), by="ana@host: streams dlq replay")


def test_a_replay_restarts_the_execution_and_addresses_its_handler_alone(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue
) -> None:
    """From failure to retry, with the next seq and all attempts, in the transaction of the record's outbox row."""
    dead = kill()
    done = replay_one(engine, settings, catalogue, dead)
    assert (done.handler, done.topic) == (HANDLER, catalogue.tier("low", 0.0))
    (row,) = rows(engine, "select status, seq, attempts, replays, completed_at, error from streams.executions")
    assert row == {"status": "retry", "seq": 5, "attempts": 0, "replays": 1, "completed_at": None, "error": None}
    (sent,) = rows(engine, "select * from streams.outbox")
    assert (sent["event_id"], sent["topic"]) == (dead.event.event_id, done.topic)
    assert (sent["key"], sent["value"]) == (dead.encoded.key, dead.encoded.value)
    carried = headers_from_json(sent["headers"])  # type: ignore[arg-type]  # a jsonb
    assert carried[: len(dead.encoded.headers)] == dead.encoded.headers
    assert headers.last_text(carried, headers.HANDLER) == HANDLER
    assert headers.last_int(carried, headers.SEQ) == 5
    assert headers.last_int(carried, headers.REPLAYS) == 1
    assert headers.last_int(carried, headers.ORIGIN_TIMESTAMP) == 1_700_000_000_000
    assert not [name for name, _ in carried if name.startswith((headers.DLQ_PREFIX, headers.SPRING_PREFIX))]
    with engine.connect() as connection:
        assert list_dead_letters(connection, DeadLetterFilter()) == []
        (letter,) = list_dead_letters(connection, DeadLetterFilter(replayed=True))
    assert letter.replayed_at is not None
    assert letter.replayed_by is not None
    assert letter.replayed_by.startswith("ana@host: streams dlq replay (role ")


@pytest.mark.parametrize(
    ("status", "said"),
    [("success", "has succeeded since"), ("retry", "in progress again"), (None, "no longer knows")],
)
def test_what_is_not_dead_any_more_is_refused_and_nothing_changes(
    *, kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue, status: str | None, said: str
) -> None:
    dead = kill(status=status)
    with pytest.raises(ReplayRefusedError, match=said):
        replay_one(engine, settings, catalogue, dead)
    assert scalar(engine, "select count(*) from streams.outbox") == 0
    assert scalar(engine, "select count(*) from streams.dead_letters where replayed_at is not null") == 0


def test_of_two_replays_at_once_one_is_refused(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue
) -> None:
    dead = kill()

    def attempt(_: int) -> str:
        try:
            replay_one(engine, settings, catalogue, dead)
        except ReplayRefusedError as error:
            return str(error)
        return "done"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(attempt, range(4)))
    assert outcomes.count("done") == 1
    assert sum("was already replayed" in outcome for outcome in outcomes) == 3
    assert scalar(engine, "select count(*) from streams.outbox") == 1


def test_an_unreadable_record_goes_back_to_its_topic_as_it_came(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue
) -> None:
    dead = kill(reason=Reason.DECODE, readable=False)
    done = replay_one(engine, settings, catalogue, dead)
    assert (done.handler, done.topic) == (None, dead.encoded.topic)
    (sent,) = rows(engine, "select * from streams.outbox")
    assert (sent["topic"], sent["key"], sent["value"]) == (dead.encoded.topic, dead.encoded.key, b"\xffnot avro")
    assert headers_from_json(sent["headers"]) == dead.encoded.headers  # type: ignore[arg-type]  # a jsonb


@pytest.mark.requirement("Faults of others", "a replay sends nothing to a topic that only a header names")
def test_a_replay_to_a_topic_outside_the_catalogue_is_refused(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue
) -> None:
    """The header of a forged dead letter names a topic of another application. The operator may write to it."""
    kill()
    dlq = catalogue.dlq(catalogue.topic("document.deleted").name)
    produce(settings, dlq, b"k", b"v", [(headers.DLQ_TOPIC, b"payments.ordered")])
    with engine.begin() as connection:
        rebuild(connection, settings, catalogue, build_codec(settings, catalogue))
        (forged,) = list_dead_letters(connection, DeadLetterFilter(topic="payments.ordered"))
        record = read_record(settings, forged)
        with pytest.raises(ReplayRefusedError, match=r"its topic 'payments.ordered' is not in the catalogue"):
            replay(connection, catalogue, forged, record, by="test")
    assert scalar(engine, "select count(*) from streams.outbox") == 0


def test_many_records_are_read_and_those_that_kafka_dropped_are_known(
    kill: Kill, engine: Engine, settings: Settings
) -> None:
    """Twenty letters over all partitions. Retention has deleted the oldest one of each."""
    dead = [kill() for _ in range(20)]
    with engine.connect() as connection:
        letters = find_dead_letters(connection, [one.id for one in dead])
    first: dict[int, int] = {}
    for letter in letters:
        first[letter.dlq_partition] = min(first.get(letter.dlq_partition, letter.dlq_offset), letter.dlq_offset)
    topic = letters[0].dlq_topic
    admin = AdminClient(client_config(settings))
    for future in admin.delete_records([TopicPartition(topic, p, offset + 1) for p, offset in first.items()]).values():
        future.result(10)
    read = {letter.id: record for letter, record in read_records(settings, letters)}
    assert set(read) == {one.id for one in dead}
    for letter, one in zip(letters, dead, strict=True):
        record = read[letter.id]
        if letter.dlq_offset == first[letter.dlq_partition]:
            assert record is None
        else:
            assert isinstance(record, Record)
            assert (record.key, record.value) == (one.encoded.key, one.encoded.value)


def test_the_index_is_rebuilt_from_the_topics(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue
) -> None:
    for _ in range(3):
        kill()
    kill(reason=Reason.DECODE, readable=False)
    before = rows(engine, "select * from streams.dead_letters order by id")
    with engine.begin() as connection:
        connection.execute(text("delete from streams.dead_letters"))
    codec = build_codec(settings, catalogue)
    with engine.begin() as connection:
        assert rebuild(connection, settings, catalogue, codec) == Rebuilt(added=4, removed=0)
    assert rows(engine, "select * from streams.dead_letters order by id") == before
    with engine.begin() as connection:
        assert rebuild(connection, settings, catalogue, codec) == Rebuilt(added=0, removed=0)


@pytest.mark.requirement("Faults of others", "c20: dead letters of a DLQ topic that was created again are all listed")
def test_the_newer_dead_letter_with_an_id_is_indexed(kill: Kill, engine: Engine) -> None:
    """If a DLQ topic begins again at offset 0, its ids do too. An older dead letter does not replace a newer one."""
    dead = kill()
    (known,) = rows(engine, "select * from streams.dead_letters")
    values = {name: value for name, value in known.items() if name != "replayed_at"}
    with engine.begin() as connection:
        connection.execute(update(dead_letters).values(replayed_at=datetime.now(tz=UTC)))
        later = known["died_at"] + timedelta(seconds=1)  # type: ignore[operator]  # a timestamptz
        connection.execute(INSERT_DEAD_LETTER, {**values, "event_id": uuid4(), "died_at": later})
    (newer,) = rows(engine, "select * from streams.dead_letters")
    assert (newer["id"], newer["died_at"], newer["replayed_at"]) == (dead.id, later, None)
    assert newer["event_id"] != known["event_id"]
    with engine.begin() as connection:
        connection.execute(INSERT_DEAD_LETTER, values)
    assert rows(engine, "select * from streams.dead_letters") == [newer]


@pytest.mark.requirement("Faults of others", "c20: dead letters of a DLQ topic that was created again are all listed")
@pytest.mark.parametrize("partitions", [1])
def test_a_dlq_topic_that_was_created_again_is_indexed_anew(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue
) -> None:
    """The record of another life is not shown for a row; a rebuild replaces this row, and removes those without one."""
    former = [kill() for _ in range(3)]
    dlq = catalogue.dlq(catalogue.topic("document.deleted").name)
    delete_topic(settings.kafka_bootstrap_servers, dlq)
    apply(settings, plan_topics(settings, catalogue).changes)
    sent = (
        (headers.DLQ_TOPIC, b"document.deleted"),
        (headers.DLQ_REASON, b"fatal"),
        (headers.DLQ_DIED_AT, b"1700000010000"),
    )
    produce(settings, dlq, b"k", b"another", sent)
    with engine.connect() as connection:
        letters = find_dead_letters(connection, [one.id for one in former])
    assert [record for _, record in read_records(settings, letters)] == [None, None, None]
    with engine.begin() as connection:
        rebuilt = rebuild(connection, settings, catalogue, build_codec(settings, catalogue))
    assert rebuilt == Rebuilt(added=1, removed=2)
    (row,) = rows(engine, "select * from streams.dead_letters")
    assert (row["id"], row["reason"]) == (f"{dlq}:0:0", "fatal")


@pytest.mark.requirement("Faults of others", "`dlq rebuild` deletes no row of a DLQ that it cannot see")
def test_the_rows_of_a_dlq_that_is_not_there_stay(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue, commands: Commands
) -> None:
    """The command names the DLQ, rebuilds the others, and fails. When the topic is there again, it succeeds."""
    kill()
    missing = catalogue.dlq(catalogue.topic("document.deleted").name)
    other = catalogue.dlq(catalogue.topic("dataset.deleted").name)
    produce(settings, other, b"k", b"v", [(headers.DLQ_REASON, b"fatal")])
    before = rows(engine, "select * from streams.dead_letters")
    delete_topic(settings.kafka_bootstrap_servers, missing)
    done = commands.run("dlq", "rebuild", "--json")
    assert done.returncode == 1
    assert f"left out, so that their rows are unchanged: {missing}; {missing} is not on Kafka" in done.stderr
    found = json.loads(done.stdout)
    assert (found["added"], found["removed"], list(found["left_out"])) == (1, 0, [missing])
    assert rows(engine, f"select * from streams.dead_letters where dlq_topic = '{missing}'") == before
    apply(settings, plan_topics(settings, catalogue).changes)
    again = commands.json("dlq", "rebuild")
    assert again == {"added": 0, "removed": 1, "left_out": {}}


@pytest.mark.requirement("Faults of others", "`dlq replay --all` goes on after what cannot be read or replayed")
def test_a_letter_of_a_deleted_dlq_stops_no_other_replay(kill: Kill, engine: Engine, commands: Commands) -> None:
    """An event was retired and its topics were deleted. Its rows stay until their retention has passed."""
    dead = [kill() for _ in range(3)]
    (row, *_) = rows(engine, "select * from streams.dead_letters")
    places = [f"{name}.dlq" for name in ("a-retired", "z-retired")]
    with engine.begin() as connection:
        for place in places:
            connection.execute(insert(dead_letters).values({**row, "id": f"{place}:0:0", "dlq_topic": place}))
    done = commands.run("dlq", "replay", "--all", "--json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "(and 1 more were not replayed)" in done.stderr
    found = {one["id"]: one["error"] for one in json.loads(done.stdout)}
    assert {name: error for name, error in found.items() if error is None} == {one.id: None for one in dead}
    for place in places:
        assert f"{place} is not on Kafka" in found[f"{place}:0:0"]
    assert scalar(engine, "select count(*) from streams.outbox") == len(dead)


@pytest.mark.requirement("Faults of others", "L4: a foreign record in a DLQ does not stop `dlq rebuild`")
def test_a_foreign_record_is_indexed_shown_and_refused(
    kill: Kill, engine: Engine, settings: Settings, catalogue: Catalogue, commands: Commands
) -> None:
    """Numbers, times and texts that no column can hold become default values, in every command."""
    kill()
    foreign = (
        (headers.DLQ_TOPIC, b"document.deleted\x00"),
        (headers.DLQ_PARTITION, b"99999999999"),
        (headers.DLQ_OFFSET, b"9" * 40),
        (headers.DLQ_DELIVERY_COUNT, b"-5"),
        (headers.DLQ_DIED_AT, b"9" * 30),
        (headers.DLQ_FIRST_FAILED_AT, b"-1"),
        (headers.DLQ_HANDLER, b"\xff\x00"),
        (headers.DLQ_MESSAGE, b"\x00" * 100),
        (headers.DLQ_EVENT_ID, b"no uuid"),
        (headers.SPRING_TIMESTAMP, b"\x7f" * 3000),
        (headers.SPRING_PARTITION, b""),
    )
    dlq = catalogue.dlq(catalogue.topic("document.deleted").name)
    topic, partition, offset = produce(settings, dlq, b"k", b"v", foreign)
    with engine.begin() as connection:
        rebuilt = rebuild(connection, settings, catalogue, build_codec(settings, catalogue))
    assert rebuilt == Rebuilt(added=1, removed=0)
    shown = commands.json("dlq", "show", f"{topic}:{partition}:{offset}")
    assert isinstance(shown, dict)
    assert (shown["partition"], shown["offset"], shown["attempts"], shown["reason"]) == (-1, -1, 0, "unknown")
    assert len(commands.rows("dlq", "list")) == 2
    assert commands.run("dlq", "replay", f"{topic}:{partition}:{offset}").stderr.count("\n") <= 1


def test_a_replay_uses_the_record_s_time_without_a_valid_header() -> None:
    """A header of 3,000 bytes is no time."""
    record = Record("a", 0, 0, 7, "CreateTime", None, None, ((headers.SPRING_TIMESTAMP, b"\x7f" * 3000),))
    assert origin_timestamp(record) == 7


@pytest.mark.requirement("Commands", "`dlq list`, `show`, `replay` and their fields")
def test_the_list_command_filters_and_has_its_fields(kill: Kill, commands: Commands, engine: Engine) -> None:
    exhausted, undecoded = kill(), kill(reason=Reason.DECODE, readable=False)
    (row,) = commands.rows("dlq", "list", "--handler", HANDLER)
    assert tuple(row) == LIST_FIELDS
    assert (row["id"], row["event_id"]) == (exhausted.id, str(exhausted.event.event_id))
    assert row["died_at"] == "2023-11-14T22:13:29+00:00"
    assert [row["id"] for row in commands.rows("dlq", "list", "--reason", "decode")] == [undecoded.id]
    assert len(commands.rows("dlq", "list", "--topic", "document.deleted")) == 2
    assert commands.rows("dlq", "list", "--topic", "dataset.deleted") == []
    with engine.begin() as connection:
        connection.execute(update(dead_letters).values(replayed_at=datetime.now(tz=UTC)))
    assert commands.rows("dlq", "list") == []
    assert len(commands.rows("dlq", "list", "--replayed")) == 2
    assert commands.run("dlq", "list", "--topic", "no.such").returncode == 2


@pytest.mark.requirement("Commands", "`dlq list`, `show`, `replay` and their fields")
def test_the_show_command_shows_the_record_and_the_event(kill: Kill, commands: Commands) -> None:
    dead, unreadable = kill(), kill(reason=Reason.DECODE, readable=False)
    shown = commands.json("dlq", "show", dead.id)
    assert isinstance(shown, dict)
    assert shown["key"] == dead.event.document_id
    assert shown["value"] == "base64:" + base64.b64encode(dead.encoded.value).decode()
    assert shown["event"]["document_id"] == dead.event.document_id
    assert [headers.SPRING_TIMESTAMP, 1_700_000_000_000] in shown["headers"]
    assert [headers.DLQ_REASON, "exhausted"] in shown["headers"]
    shown = commands.json("dlq", "show", unreadable.id)
    assert isinstance(shown, dict)
    assert (shown["event"], bool(shown["unreadable"])) == (None, True)
    missing = commands.run("dlq", "show", "no:0:0")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "'no:0:0'" in missing.stderr


@pytest.mark.requirement("Commands", "`dlq list`, `show`, `replay` and their fields")
@pytest.mark.requirement("Faults of others", "L12: a replay notes the account and the command")
def test_the_replay_command_takes_ids_or_all_and_tells_what_it_refused(
    kill: Kill, commands: Commands, engine: Engine
) -> None:
    one, succeeded, other = kill(), kill(status="success"), kill(reason=Reason.PERMANENT)
    assert commands.run("dlq", "replay").returncode == 2
    assert commands.run("dlq", "replay", one.id, "--all").returncode == 2
    done = commands.json("dlq", "replay", one.id)
    assert isinstance(done, list)
    assert [(row["id"], row["handler"], row["replayed"]) for row in done] == [(one.id, HANDLER, True)]
    again = commands.run("dlq", "replay", one.id)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "already" in again.stderr
    everything = commands.run("dlq", "replay", "--all", "--json")
    assert everything.returncode == 1
    assert "has succeeded" in everything.stderr
    assert succeeded.id in everything.stdout
    assert other.id in everything.stdout
    assert scalar(engine, "select count(*) from streams.outbox") == 2
    notes = {
        row["id"]: str(row["replayed_by"]) for row in rows(engine, "select id, replayed_by from streams.dead_letters")
    }
    assert f": streams dlq replay {one.id} (role " in notes[one.id]
    assert ": streams dlq replay --all (role " in notes[other.id]
    assert notes[succeeded.id] == "None"
    shown = commands.json("dlq", "show", one.id)
    assert isinstance(shown, dict)
    assert shown["replayed_by"] == notes[one.id]
