"""Published means committed: an event is sent if and only if its transaction commits."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from schemas import DocumentDeleted
from streams.codec import Codec, build_codec
from streams.database import Database
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.processes.worker_process import rows, scalar


@pytest.fixture
def codec(settings: Settings) -> Codec:
    return build_codec(settings, load_catalogue(settings))


@pytest.fixture
async def async_engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    database = Database(settings)
    yield database.effects
    await database.dispose()


def a_deletion(document: str = "d1") -> DocumentDeleted:
    return DocumentDeleted(tenant_id="t1", document_id=document, dataset_id="s1", doc_form="text_model")


@pytest.mark.requirement("Publishing", "`Outbox(session).publish(event)` for sync and async sessions")
def test_a_commit_brings_the_event_in(settings: Settings, engine: Engine, codec: Codec) -> None:
    """The row is the encoded record with its headers, ready for the relay."""
    event = a_deletion()
    with Session(engine) as session, session.begin():
        Outbox(session, codec).publish(event)
    (row,) = rows(engine, "select * from streams.outbox")
    assert (row["event_id"], row["topic"]) == (event.event_id, f"{settings.topic_prefix}document.deleted")
    assert row["key"] == b"d1"
    assert codec.decode(str(row["topic"]), bytes(row["value"])) == event  # type: ignore[call-overload]  # a bytea
    assert (row["due_at"], row["failed_at"]) == (None, None)


@pytest.mark.requirement("Publishing", "nothing goes out if the transaction rolls back, everything if it commits")
def test_a_rollback_takes_it_away(engine: Engine, codec: Codec) -> None:
    with Session(engine) as session:
        Outbox(session, codec).publish(a_deletion())
        session.flush()
        session.rollback()
    with pytest.raises(ZeroDivisionError):
        publish_and_fail(engine, codec)
    assert scalar(engine, "select count(*) from streams.outbox") == 0


def publish_and_fail(engine: Engine, codec: Codec) -> None:
    with Session(engine) as session, session.begin():
        Outbox(session, codec).publish(a_deletion())
        session.flush()
        raise ZeroDivisionError


@pytest.mark.requirement("Publishing", "nothing goes out if the transaction rolls back, everything if it commits")
def test_a_savepoint_rolled_back_takes_only_its_own(engine: Engine, codec: Codec) -> None:
    with Session(engine) as session, session.begin():
        Outbox(session, codec).publish(a_deletion("kept"))
        with session.begin_nested() as savepoint:
            Outbox(session, codec).publish(a_deletion("dropped"))
            savepoint.rollback()
    assert [row["key"] for row in rows(engine, "select key from streams.outbox")] == [b"kept"]


@pytest.mark.requirement("Publishing", "`Outbox(session).publish(event)` for sync and async sessions")
async def test_an_async_session_is_served_alike(async_engine: AsyncEngine, engine: Engine, codec: Codec) -> None:
    at = datetime.now(tz=UTC) + timedelta(hours=1)
    async with AsyncSession(async_engine) as session, session.begin():
        Outbox(session, codec).publish(a_deletion("later"), at=at)
    async with AsyncSession(async_engine) as session:
        Outbox(session, codec).publish(a_deletion("never"))
        await session.rollback()
    assert rows(engine, "select key, due_at from streams.outbox") == [{"key": b"later", "due_at": at}]


@pytest.mark.requirement("Publishing", "batches, order per key")
def test_rows_keep_the_order_of_publishing(engine: Engine, codec: Codec) -> None:
    """In a transaction, also with many flushes at once, ids rise in the order of publishing."""
    names = [f"d{number}" for number in range(2500)]
    with Session(engine) as session, session.begin():
        for name in names:
            Outbox(session, codec).publish(a_deletion(name))
    assert [row["key"] for row in rows(engine, "select key from streams.outbox order by id")] == [
        name.encode() for name in names
    ]


def test_the_environment_s_codec_is_the_default(settings: Settings, engine: Engine) -> None:
    """A sender needs only its session."""
    from streams.codec import default_codec  # noqa: PLC0415 - its cache is emptied for this test's environment
    from streams.settings import load_settings  # noqa: PLC0415 - as above

    load_settings.cache_clear()
    default_codec.cache_clear()
    try:
        with Session(engine) as session, session.begin():
            Outbox(session).publish(a_deletion())
    finally:
        load_settings.cache_clear()
        default_codec.cache_clear()
    assert scalar(engine, "select topic from streams.outbox") == f"{settings.topic_prefix}document.deleted"


def test_the_database_has_the_time_of_writing(engine: Engine, codec: Codec) -> None:
    with Session(engine) as session, session.begin():
        Outbox(session, codec).publish(a_deletion())
    with engine.connect() as connection:
        age = connection.execute(text("select now() - created_at from streams.outbox")).scalar_one()
    assert timedelta(0) <= age < timedelta(seconds=30)
