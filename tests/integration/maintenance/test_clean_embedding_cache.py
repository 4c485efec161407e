"""Old entries of the embedding cache go, in bounded steps."""

from datetime import UTC

import pytest
from sqlalchemy.exc import DBAPIError

from schemas import EmbeddingCacheCleanupRequested
from streams.delivery import Permanent
from streams.dify.models import Embedding
from streams.dify.retention import embedding_cache
from tests.integration.maintenance.retention_runs import Retention, days_ago

SECTION = "Schedules"
ADD = """
insert into embeddings (model_name, hash, embedding, provider_name, created_at)
select 'm', 'h' || :days || '-' || n, 'x', 'p', :created_at from generate_series(1, :count) n
"""


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "ROWS_PER_BATCH", 3)


async def _add(retention: Retention, days: float, count: int = 1) -> None:
    await retention.sql(ADD, days=str(days), created_at=days_ago(days), count=count)


@pytest.mark.requirement(SECTION, "clean-embedding-cache: entries older than the cutoff go, in steps, younger stay")
async def test_old_entries_go(retention: Retention) -> None:
    """Many have the same time. Every step continues where the last one ended, with the cutoff of the first."""
    await _add(retention, 31, count=7)
    await _add(retention, 45)
    await _add(retention, 29, count=2)

    hurried = retention.hurried()
    assert await hurried.run(EmbeddingCacheCleanupRequested()) == {"embeddings": 8}

    assert [one["done"] for one in retention.results] == [False, False, True]
    assert await retention.site.count(Embedding) == 2
    assert await retention.run(EmbeddingCacheCleanupRequested()) == {}


@pytest.mark.requirement(SECTION, "clean-embedding-cache: a killed or repeated step does no harm")
async def test_a_killed_step_is_repeated(retention: Retention) -> None:
    """The failed statement rolls the step back. The same event then does the work, also twice."""
    await _add(retention, 40, count=5)
    await retention.sql(
        "create function fail() returns trigger language plpgsql as 'begin raise sqlstate ''57P01''; end'"
    )
    await retention.sql(
        "create trigger fail before delete on embeddings for each row when (old.hash = 'h40-5') execute function fail()"
    )
    event = EmbeddingCacheCleanupRequested()
    with pytest.raises(DBAPIError):
        await retention.step(event)
    assert await retention.site.count(Embedding) == 5
    await retention.sql("drop trigger fail on embeddings")

    (second,) = await retention.hurried().step(event)
    assert second.cutoff is not None
    assert second.cutoff.tzinfo == UTC
    assert second.event_id != event.event_id
    for _ in range(2):
        await retention.run(second)
    assert await retention.site.count(Embedding) == 0


@pytest.mark.requirement(SECTION, "clean-embedding-cache: a row that cannot be deleted does not repeat the steps")
async def test_a_row_that_stays_ends_the_run(retention: Retention) -> None:
    """Today the loop takes the same rows again for ever."""
    await _add(retention, 40, count=8)
    await retention.sql("create function keep() returns trigger language plpgsql as 'begin return null; end'")
    await retention.sql("create trigger keep before delete on embeddings for each row execute function keep()")

    assert await retention.hurried().run(EmbeddingCacheCleanupRequested(), steps=5) == {}
    assert await retention.site.count(Embedding) == 8


@pytest.mark.requirement(SECTION, "clean-embedding-cache: an entry that an indexing is writing is not waited for")
async def test_a_locked_entry_is_skipped(retention: Retention) -> None:
    await _add(retention, 40, count=4)
    async with retention.site.transaction() as session:
        connection = await session.connection()
        await connection.exec_driver_sql("select 1 from embeddings where hash = 'h40-2' for update")
        assert await retention.run(EmbeddingCacheCleanupRequested()) == {"embeddings": 3}
    assert await retention.run(EmbeddingCacheCleanupRequested()) == {"embeddings": 1}


@pytest.mark.requirement(SECTION, "Clean-ups: what is younger than the setting says stays, whatever an event asks for")
async def test_a_cutoff_in_the_future_deletes_nothing_young(retention: Retention) -> None:
    await _add(retention, 29)
    event = EmbeddingCacheCleanupRequested(cutoff=days_ago(-1).replace(tzinfo=UTC))
    assert await retention.run(event) == {}


@pytest.mark.requirement(SECTION, "Clean-ups: a cursor that no step has written is refused")
async def test_a_wrong_cursor_is_refused(retention: Retention) -> None:
    nobody = "00000000-0000-0000-0000-000000000000"
    for cursor in ("", "later", "2026-01-01/x", f"2026-01-01T00:00:00+00:00/{nobody}"):
        with pytest.raises(Permanent, match="cursor"):
            await retention.step(EmbeddingCacheCleanupRequested(cursor=cursor))
