"""Each right of senders, relays and readers is needed: without it, its role cannot do one thing."""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from confluent_kafka.admin import NewTopic
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from schemas import AppCreated
from streams.codec import build_codec
from streams.database import Database
from streams.database.migrations import upgrade
from streams.publishing import Outbox
from streams.publishing.outbox.outbox import OutboxRow
from streams.publishing.outbox.relay import Relay
from streams.topics import load_catalogue
from streams.transport.kafka.producer import RecordProducer
from tests.integration.conftest import own_environment, settings_in
from tests.support.cli import Commands
from tests.support.local_stack.cluster import admin_client
from tests.support.local_stack.sql_roles import SQL, Roles, sql_roles
from tests.support.local_stack.stack import Stack

DENIED = "permission denied"
ATTEMPTS = 10
Right = tuple[str, str, str]
"""Role, right, and the object in the words of SQL."""


def granted() -> list[Right]:
    """Return the single rights of the file, without those of a worker."""
    statements = re.findall(r"^grant (.+) on (.+) to (.+);$", (SQL / "grants.sql").read_text(), re.MULTILINE)
    return [
        (role.removeprefix("streams_"), right.strip(), place)
        for rights, place, roles in statements
        for role in roles.split(", ")
        if role != "streams_worker"  # test_one_worker_grant_less.py
        for right in re.findall(r"\w+(?: \([^)]*\))?", rights)
    ]


@dataclass(frozen=True)
class Place:
    """A migrated database with the roles and their rights, and one event topic."""

    roles: Roles
    environment: dict[str, str]

    def of(self, role: str) -> dict[str, str]:
        """Return the environment of a role's processes."""
        return {**self.environment, "STREAMS_DATABASE_URL": self.roles.url(f"streams_{role}")}

    def publish(self, headers: object = ()) -> None:
        """Write an event to the outbox. `headers`: what the relay cannot read."""
        settings = settings_in(self.environment)
        with Session(self.roles.engine("streams_worker")) as session:
            if headers:
                topic = load_catalogue(settings).of(AppCreated).name
                session.add(OutboxRow(event_id=uuid4(), topic=topic, value=b"x", headers=headers))
            else:
                Outbox(session, build_codec(settings, load_catalogue(settings))).publish(AppCreated(app_id="a"))
            session.commit()


def send(place: Place) -> None:
    """Publish as the sender."""
    settings = settings_in(place.environment)
    with Session(place.roles.engine("streams_sender")) as session:
        Outbox(session, build_codec(settings, load_catalogue(settings))).publish(AppCreated(app_id="a"))
        session.commit()


def relay(place: Place) -> None:
    place.publish()
    assert asyncio.run(relay_once(place)) == 1


def set_aside(place: Place) -> None:
    """An event that cannot be sent stays in the outbox, marked, and the others are sent."""
    place.publish(headers=[["name", "no base64"]])
    asyncio.run(relay_once(place))


async def relay_once(place: Place) -> int:
    settings = settings_in(place.of("relay"))
    failures: list[Exception] = []
    database, records = Database(settings), RecordProducer(settings, on_fatal=failures.append)
    await records.start()
    try:
        for _ in range(ATTEMPTS):
            try:
                return await Relay(database.bookkeeping, records, settings).step()
            except OperationalError:
                continue  # the database ends a transaction that is idle for a second, as on a busy machine
        return await Relay(database.bookkeeping, records, settings).step()
    finally:
        await records.stop()
        await database.dispose()
        assert failures == []


def start_relay(place: Place) -> None:
    """`streams relay` first looks whether the schema is there and current."""
    # Without brokers the command ends after that look.
    done = Commands({**place.of("relay"), "STREAMS_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}).run("relay")
    assert "no Kafka broker answers" in done.stderr, done.stderr


def read(place: Place) -> None:
    for command in (("executions", "list"), ("dlq", "list"), ("outbox", "list")):
        done = Commands(place.of("reader")).run(*command)
        assert done.returncode == 0, done.stderr


CASES: dict[Right, Callable[[Place], None]] = {
    ("sender", "usage", "schema streams"): send,
    ("sender", "insert", "streams.outbox"): send,
    ("sender", "select (id, created_at)", "streams.outbox"): send,
    ("relay", "usage", "schema streams"): relay,
    ("relay", "select", "streams.outbox"): relay,
    ("relay", "update", "streams.outbox"): set_aside,
    ("relay", "delete", "streams.outbox"): relay,
    ("relay", "select", "streams.relay"): relay,
    ("relay", "update", "streams.relay"): relay,
    ("relay", "select", "streams.alembic_version"): start_relay,
    ("reader", "usage", "schema streams"): read,
    ("reader", "select", "all tables in schema streams"): read,
}
"""What needs a right. It fails without it."""


@pytest.fixture(scope="module")
def place(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with own_environment(stack, template, tmp_path_factory.mktemp("grants"), 1) as environment:
        settings = settings_in(environment)
        topic = load_catalogue(settings).of(AppCreated).name
        admin_client(settings.kafka_bootstrap_servers).create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
        with sql_roles(stack, str(make_url(environment["STREAMS_DATABASE_URL"]).database)) as roles:
            upgrade(settings_in({**environment, "STREAMS_DATABASE_URL": roles.url("streams_owner")}))
            roles.run_file("grants.sql", "streams_owner")
            yield Place(roles, environment)


def test_each_right_has_a_case() -> None:
    assert sorted(granted()) == sorted(CASES)


@pytest.mark.requirement("Faults of others", "one right in PostgreSQL less, and something stops")
@pytest.mark.parametrize("right", CASES, ids="-".join)
def test_one_right_less_stops_something(right: Right, place: Place) -> None:
    role, what, where = right
    work = CASES[right]
    place.roles.execute("delete from streams.outbox", "streams_worker")
    place.roles.execute(f"revoke {what} on {where} from streams_{role}", "streams_owner")
    try:
        with pytest.raises((DBAPIError, AssertionError), match=DENIED):
            work(place)
    finally:
        place.roles.execute(f"grant {what} on {where} to streams_{role}", "streams_owner")
    place.roles.execute("delete from streams.outbox", "streams_worker")
    work(place)
