"""`streams publish`: publishing to Kafka, and its error messages."""

import json
from uuid import UUID

import pytest

from streams.codec import build_codec
from streams.headers import CE_EXPIRYTIME
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.kafka_records import end_offsets, read_all
from tests.support.processes.worker_process import Streams, free_port

pytestmark = pytest.mark.topics("document.deleted")

GOOD = {"document_id": "d1", "dataset_id": "s1", "doc_form": "text_model"}


def lines(count: int) -> str:
    return "".join(json.dumps({**GOOD, "document_id": f"d{number}"}) + "\n" for number in range(count))


@pytest.mark.requirement("Commands", "`publish EVENT JSON`, `publish EVENT -`")
def test_one_event_prints_its_id_and_is_on_its_topic(topics: Settings, commands: Commands) -> None:
    done = commands.run("publish", "document.deleted", json.dumps(GOOD))
    assert (done.returncode, done.stderr) == (0, "")
    given = {**GOOD, "event_id": "0199c0de-0000-7000-8000-000000000001", "occurred_at": "2026-01-02T03:04:05+00:00"}
    assert commands.json("publish", "document.deleted", json.dumps(given)) == {"event_ids": [given["event_id"]]}
    topic = f"{topics.topic_prefix}document.deleted"
    codec = build_codec(topics, load_catalogue(topics))
    events = [codec.decode(topic, message.value()) for message in read_all(topics, topic, 2)]
    assert {event.event_id for event in events} == {UUID(done.stdout.strip()), UUID(given["event_id"])}


@pytest.mark.requirement("Bad input", "`publish` with a wrong name or field: one line, exit 2, nothing sent")
def test_a_wrong_request_is_one_line_exit_2_and_nothing_is_sent(topics: Settings, commands: Commands) -> None:
    for arguments, named in (
        (("no.such", "{}"), "no.such"),
        (("document.deleted",), "document_id"),
        (("document.deleted", "{nonsense"), "JSON"),
        (("document.deleted", json.dumps({**GOOD, "colour": "red"})), "colour"),
    ):
        done = commands.run("publish", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert named in done.stderr
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 0


def test_an_expiry_is_a_header_of_the_record(topics: Settings, commands: Commands) -> None:
    """A time that is invalid or has no offset is an error: one line, exit 2."""
    until = ("--expires-at", "2027-01-31T12:00:00+02:00")
    assert commands.run("publish", "document.deleted", json.dumps(GOOD), *until).returncode == 0
    assert commands.run("publish", "document.deleted", "-", *until, stdin=lines(1)).returncode == 0
    records = read_all(topics, f"{topics.topic_prefix}document.deleted", 2)
    assert {dict(record.headers() or [])[CE_EXPIRYTIME] for record in records} == {b"2027-01-31T10:00:00+00:00"}
    for wrong, why in (("tomorrow", "tomorrow"), ("2027-01-31T12:00:00", "has no UTC offset")):
        done = commands.run("publish", "document.deleted", json.dumps(GOOD), "--expires-at", wrong)
        assert done.returncode == 2
        assert why in done.stderr


@pytest.mark.requirement("Commands", "`publish EVENT JSON`, `publish EVENT -`")
def test_lines_are_streamed_and_counted(topics: Settings, commands: Commands) -> None:
    assert commands.json("publish", "document.deleted", "-", stdin=lines(7000)) == {"acknowledged": 7000}
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 7000
    assert "3 events acknowledged" in commands.run("publish", "document.deleted", "-", stdin=lines(3)).stdout


@pytest.mark.requirement("Bad input", "`publish -` stops at the first bad line with its number and the count")
def test_the_first_invalid_line_stops_with_its_number_and_the_count(topics: Settings, commands: Commands) -> None:
    done = commands.run("publish", "document.deleted", "-", "--json", stdin=lines(4) + "{}\n" + lines(4))
    assert done.returncode == 2
    assert json.loads(done.stdout)["acknowledged"] == 4
    assert done.stderr.count("\n") == 1
    assert "line 5: " in done.stderr
    assert "4 events were acknowledged" in done.stderr
    assert end_offsets(topics, f"{topics.topic_prefix}document.deleted") == 4


def test_unreachable_kafka_is_one_line_and_exit_1(environment: dict[str, str]) -> None:
    """In its own process, to see the Kafka client's own output too."""
    nowhere = {"STREAMS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", "STREAMS_KAFKA_REQUEST_TIMEOUT": "1s"}
    streams = Streams({**environment, **nowhere})
    for arguments, stdin in ((json.dumps(GOOD), None), ("-", lines(3))):
        done = streams.run("publish", "document.deleted", arguments, stdin=stdin)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1
        assert "no acknowledgement from Kafka" in done.stderr


def test_a_missing_topic_is_one_line_and_exit_1(commands: Commands) -> None:
    """The topic is in the catalogue, but not on the cluster."""
    done = commands.run("publish", "document.deleted", json.dumps(GOOD))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "streams topics apply" in done.stderr
