"""Personal data and secrets on real servers: whole in records, nowhere else."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from cryptography.fernet import Fernet
from sqlalchemy import Engine

from streams import headers
from streams.codec import build_codec
from streams.operations.topics.apply import plan_topics
from streams.runtime.declarations import build_catalogue
from streams.schema_registry.export import export
from streams.settings import Settings
from streams.transport.kafka.client import client_config
from tests.support.apps import letters
from tests.support.apps.letters import InvitationRequested, Recipient
from tests.support.cli import Commands
from tests.support.processes.worker_process import WorkerProcess, publish, rows, scalar, wait_for

MakeWorker = Callable[..., WorkerProcess]
CODE, MAIL, OTHER, BORN = "493817", "ada.lovelace@example.org", "charles@example.org", "1815-12-10"
MARKED = (CODE, MAIL, OTHER, BORN)


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The test's settings, with the invitation topic for every process."""
    registry = tmp_path / "registry"
    export(build_catalogue(Settings(handlers=(letters.__name__,))), registry)
    return {
        **environment,
        "STREAMS_HANDLERS": letters.__name__,
        "STREAMS_SCHEMA_REGISTRY_URL": f"file:{registry}",
    }


def letter(plan: str) -> InvitationRequested:
    return InvitationRequested.model_validate(
        {
            "letter_id": f"letter-{plan}",
            "code": CODE,
            "recipients": [Recipient(mail=MAIL), Recipient(mail=OTHER)],
            "born": BORN,
            "plan": plan,
            "tenant_id": "t1",
        }
    )


def settled(engine: Engine, expected: int) -> bool:
    count = scalar(engine, "select count(*) from streams.executions where status in ('success', 'failure')")
    return count == expected


def marked_values_in(value: object) -> list[str]:
    """Return the marked values that a text or bytes contain."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return [marked for marked in MARKED if marked in text]


def records_of(settings: Settings, topic: str) -> list[tuple[bytes | None, list[tuple[str, bytes]]]]:
    """Return value and headers of all records of a topic."""
    consumer = Consumer({**client_config(settings), "group.id": "reading", "enable.partition.eof": True})
    found = []
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        ended = 0
        while ended < len(partitions):
            message = consumer.poll(10)
            assert message is not None, "Kafka gave nothing in ten seconds"
            if message.error() is not None:
                ended += 1
                continue
            found.append((message.value(), list(message.headers() or [])))
    finally:
        consumer.close()
    return found  # type: ignore[return-value]  # the client's types allow a dictionary of headers


@pytest.mark.requirement(
    "Personal data",
    "masked in `executions`, `dlq` output, DLQ headers and logs, by handlers that log, return and raise "
    "them; the records stay whole",
)
def test_marked_values_are_in_records_and_nowhere_else(
    topics: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """Handlers log, return and raise them: ledger, index, DLQ headers, log and every command show stars instead.

    Without a key the dead letters have their codes masked, keep the rest, and are not replayed.
    """
    one = worker().start()
    plans = ("succeed", "retry", "die", "die in sql")
    assert publish(topics, [letter(plan) for plan in plans]) == 4
    wait_for(lambda: settled(engine, 8), "eight deliveries")

    for table in ("executions", "dead_letters", "outbox", "breakers"):
        for row in rows(engine, f"select * from streams.{table}"):
            assert marked_values_in(row) == [], table
    (done,) = rows(engine, "select * from streams.executions where handler = 'invite' and args->>'plan' = 'retry'")
    assert done["result"] == "invited ***, ***, born ***, with ***"
    assert done["args"]["recipients"] == [{"mail": "***", "locale": "en"}] * 2  # type: ignore[index]  # a jsonb
    assert "cannot reach ***, *** with '***'" in str(done["history"])
    (dead,) = rows(engine, "select * from streams.executions where handler = 'note' and args->>'plan' = 'die'")
    assert "(on_dead failed: *** of *** at attempt 1" in str(dead["error"])

    dlq = build_catalogue(topics).dlq(f"{topics.topic_prefix}invitation.requested")
    codec = build_codec(topics, build_catalogue(topics))
    for value, sent in records_of(topics, dlq):
        assert marked_values_in(dict(sent)) == []
        assert dict(sent)[headers.DLQ_PROTECTION] == b"masked"
        event = codec.decode(f"{topics.topic_prefix}invitation.requested", value)
        assert isinstance(event, InvitationRequested)
        assert (event.code, event.recipients[0].mail, event.born) == ("***", MAIL, BORN)

    found = commands.rows("dlq", "list")
    assert len(found) == 4
    asked: list[tuple[str, ...]] = [("dlq", "list"), ("executions", "list")]
    asked += [("dlq", "show", str(letter["id"])) for letter in found]
    asked += [("executions", "show", event) for event in {str(letter["event_id"]) for letter in found}]
    for arguments in (*asked, *((*each, "--json") for each in asked)):
        output = commands.run(*arguments).stdout
        assert output
        assert marked_values_in(output) == []
    refused = commands.run("dlq", "replay", str(found[0]["id"]))
    assert refused.returncode != 0
    assert "cannot be replayed: its secrets were masked" in refused.stderr

    assert one.stop() == 0
    assert "inviting" in one.output()
    assert marked_values_in(one.output()) == []


@pytest.mark.requirement(
    "Personal data",
    "a secret field: the DLQ copy is encrypted, and replayed whole; without a key it is masked",
)
def test_with_a_key_copies_are_encrypted_and_a_replay_brings_them_back(
    topics: Settings, engine: Engine, worker: MakeWorker, commands: Commands
) -> None:
    """In the tier and in the DLQ. The handler of a replay sees the whole event again."""
    key = Fernet.generate_key().decode()
    one = worker(STREAMS_DLQ_KEY=key).start()
    assert publish(topics, [letter("retry"), letter("die")]) == 2
    wait_for(lambda: settled(engine, 4), "four deliveries")
    catalogue = build_catalogue(topics)
    copies = [
        record
        for topic in (*catalogue.tiers("high"), catalogue.dlq(f"{topics.topic_prefix}invitation.requested"))
        for record in records_of(topics, topic)
    ]
    assert len(copies) == 3
    assert [marked_values_in(value) + marked_values_in(dict(sent)) for value, sent in copies] == [[], [], []]

    (found,) = commands.rows("dlq", "list", "--handler", "invite")
    unopened = json.loads(commands.run("dlq", "show", str(found["id"]), "--json").stdout)
    assert (unopened["protection"], unopened["event"]) == ("encrypted", None)
    shown = json.loads(commands.run("dlq", "show", str(found["id"]), "--json", STREAMS_DLQ_KEY=key).stdout)
    assert (shown["protection"], shown["event"]["code"]) == ("encrypted", "***")
    commands.json("dlq", "replay", str(found["id"]))
    wait_for(lambda: len(rows(engine, "select 1 from streams.dead_letters")) == 3, "it to die again")
    (again,) = rows(engine, "select error_message from streams.dead_letters order by died_at desc limit 1")
    assert again == {"error_message": "the code *** of ***, *** is not valid"}
    assert one.stop() == 0
    assert marked_values_in(one.output()) == []


@pytest.mark.requirement("Personal data", "a secret field: the topic keeps records for an hour")
def test_topics_with_secrets_are_to_keep_them_for_an_hour(topics: Settings) -> None:
    """Both when they are created and in `topics check`."""
    assert plan_topics(topics, build_catalogue(topics)).changes == ()
    topic = build_catalogue(topics).topic("invitation.requested")
    assert topic.retention == 3600.0


@pytest.mark.requirement("Personal data", "errors repeat no marked value, nor a run of it; senders' errors neither")
def test_a_publisher_is_not_told_the_values_it_sent(commands: Commands, topics: Settings) -> None:
    """A command that rejects an event names only the field."""
    assert topics.handlers
    fields = {"letter_id": "l", "code": 493817, "recipients": [{"mail": MAIL, "locale": 5}]}
    refused = commands.run("publish", "invitation.requested", json.dumps(fields))
    assert refused.returncode == 2
    assert "field 'code'" in refused.stderr
    assert marked_values_in(refused.stderr + refused.stdout) == []
