"""`streams doctor` on a real stack, with things broken on purpose."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from streams.database import check_database
from streams.operations.doctor.examine import database_start_problems, examine
from streams.operations.doctor.finding import Finding
from streams.settings import POOL_NAMES, Settings, SettingsError
from streams.topics import load_catalogue
from tests.support.cli import Commands
from tests.support.local_stack.cluster import delete_topic
from tests.support.local_stack.databases import admin_url
from tests.support.local_stack.stack import Stack
from tests.support.processes.worker_process import free_port
from tests.support.proxies.transaction_pooler import transaction_pooler

SECTION = "Faults of others"


def problems(settings: Settings) -> dict[str, Finding]:
    """Return what is not ok, by subject."""
    found = examine(settings, load_catalogue(settings))
    return {finding.subject: finding for finding in found if finding.state != "ok"}


@pytest.mark.requirement(SECTION, "doctor: a deployment that lacks nothing passes with exit code 0")
def test_a_whole_deployment_passes(topics: Settings, commands: Commands) -> None:
    """Each line says ok, and no probe file is left."""
    rows = commands.rows("doctor")
    assert {row["state"] for row in rows} == {"ok"}, rows
    assert {"PostgreSQL version", "platform tables", "ledger tables", "pgvector", "topics", "Redis"} <= {
        str(row["subject"]) for row in rows
    }
    assert not [path for path in Path(topics.storage_url.removeprefix("file:")).rglob("*") if path.is_file()]


@pytest.mark.requirement(SECTION, "doctor: what is broken is named with its remedy, and the exit code is 1")
def test_each_broken_thing_is_named(stack: Stack, topics: Settings, commands: Commands, tmp_path: Path) -> None:
    """A column, a table, a right, an extension, the time zone, a topic, the storage and Redis."""
    role = f"{topics.application}_role"
    catalogue = load_catalogue(topics)
    database = make_url(topics.database_url.get_secret_value())
    server = make_url(admin_url(stack, database.database)).set(drivername="postgresql+psycopg")
    engine = create_engine(server, poolclass=NullPool)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a folder")
    with engine.begin() as connection:
        name = connection.execute(text("select current_database()")).scalar_one()
        for statement in (
            "alter table documents drop column word_count",
            "drop table streams.suspects",
            "drop extension vector cascade",
            f"alter database {name} set timezone to 'Asia/Tokyo'",
            f"create role {role} login password 'doctor'",
            f"grant usage on schema streams to {role}",
            f"grant select, insert, update, delete on all tables in schema streams, public to {role}",
            f"revoke delete on document_segments from {role}",
        ):
            connection.execute(text(statement))
    dropped = next(iter(catalogue.tiers("low")))
    delete_topic(topics.kafka_bootstrap_servers, dropped)
    url = database.set(username=role, password="doctor")
    try:
        broken = {
            "STREAMS_DATABASE_URL": url.render_as_string(hide_password=False),
            "STREAMS_STORAGE_URL": f"file:{in_the_way}/storage",
            "STREAMS_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
        }
        done = commands.run("doctor", **broken)
        assert done.returncode == 1
        for part in (
            "documents has no column word_count",
            "there is no table streams.suspects",
            "the role may not delete rows of document_segments",
            "the database has no extension vector",
            "Asia/Tokyo",
            f"are missing, such as {dropped}",
            "storage",
            "Redis",
        ):
            assert part in done.stdout, part
        assert done.stderr.count("\n") == 1
        lacking = database_start_problems(topics, POOL_NAMES)
        assert [line.partition(":")[0] for line in lacking] == [
            "documents has no column word_count",
            "there is no table streams.suspects",
        ]
        assert [line for line in database_start_problems(topics, ["high"]) if "documents" in line] == []
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"drop owned by {role}"))
            connection.execute(text(f"drop role {role}"))


@pytest.mark.requirement(SECTION, "doctor: servers that do not answer are findings")
def test_no_server_answers(settings: Settings) -> None:
    """The other checks go on."""
    port = free_port()
    changed = {
        "database_url": f"postgresql://me:secret@127.0.0.1:{port}/x",
        "kafka_bootstrap_servers": f"127.0.0.1:{port}",
        "kafka_request_timeout": 1.0,
        "vector_store": "qdrant",
        "qdrant_url": f"http://127.0.0.1:{port}",
    }
    found = problems(Settings.model_validate({**settings.model_dump(), **changed}))
    assert {subject: finding.state for subject, finding in found.items()} == {
        "PostgreSQL": "fail",
        "Kafka": "fail",
        "Qdrant": "fail",
    }
    assert "secret" not in found["PostgreSQL"].text


@pytest.mark.requirement(SECTION, "R14: a pooler that the settings do not name is refused with one line")
def test_a_pooler_is_found(topics: Settings) -> None:
    """Neither a worker nor a relay starts; with the setting both do, and doctor has no objection."""
    with transaction_pooler(topics.database_url.get_secret_value()) as url:
        unnamed = Settings.model_validate({**topics.model_dump(), "database_url": url})
        assert ["STREAMS_DATABASE_POOLER" in line for line in database_start_problems(unnamed, POOL_NAMES)] == [True]
        with pytest.raises(SettingsError, match="STREAMS_DATABASE_POOLER"):
            check_database(unnamed)
        named = unnamed.model_copy(update={"database_pooler": "transaction"})
        check_database(named)
        assert database_start_problems(named, POOL_NAMES) == []
        assert problems(named) == {}


@pytest.mark.requirement(SECTION, "doctor: a worker waits for a server that is read-only")
def test_a_read_only_server_does_not_stop_a_worker(topics: Settings, engine: Engine) -> None:
    """It is an outage, which ends."""
    with engine.begin() as connection:
        name = connection.execute(text("select current_database()")).scalar_one()
        connection.execute(text(f"alter database {name} set default_transaction_read_only = on"))
    assert database_start_problems(topics, POOL_NAMES) == []
    assert set(problems(topics)) == {"database writable"}
