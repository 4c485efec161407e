"""The keys of jobs and collections follow what was committed, also after a crash and an outage of Redis."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from schemas import CollectionsDropped, DatasetIndexChanged, JobEnded, SegmentsImportRequested
from schemas.workspace.job import JobKind
from streams.agents.knowledge.dataset_index import rebuild_dataset_index
from streams.agents.knowledge.segment_import import import_segments
from streams.agents.workspace.coordination_keys import forget_collections, report_job_end
from streams.delivery import Permanent, Unavailable
from streams.delivery.handler import Handler
from streams.dify.coordination_keys import NO_ANSWER, RETRY_SECONDS, CoordinationKeys
from streams.dify.models import UploadFile
from streams.dify.redis import redis_opener
from streams.settings import Settings
from tests.support.platform.handler_runs import CrashError, Site
from tests.support.platform.reindexing import Place, open_place

SECTION = "The whole domain"
CRASH = "the keys of jobs and collections follow their state, also if the worker crashes or Redis is away"
NOWHERE = Settings.model_validate({"redis_url": "redis://127.0.0.1:1/0"})


@pytest.fixture
async def place(settings: Settings, tmp_path: Path) -> AsyncIterator[Place]:
    async with open_place(settings, tmp_path / "files") as opened:
        yield opened


async def _import(place: Place) -> tuple[SegmentsImportRequested, str]:
    """Return an event of an import, and the key of its job, which is waiting as the platform's API sets it."""
    site, file_id, job_id = place.site, str(uuid4()), str(uuid4())
    _, document = await place.indexed()
    file = UploadFile(
        id=file_id,
        tenant_id=site.tenant_id,
        storage_type="local",
        key=f"upload_files/{site.tenant_id}/{file_id}.csv",
        name="rows.csv",
        size=20,
        extension="csv",
        created_by=str(uuid4()),
    )
    await site.platform.storage.write(file.key, b"content\nA new row.\n")
    await site.add(file)
    key = f"segment_batch_import_{job_id}"
    place.redis.set(key, "waiting")
    event = SegmentsImportRequested(
        tenant_id=site.tenant_id,
        job_id=job_id,
        document_id=document.id,
        dataset_id=document.dataset_id,
        upload_file_id=file_id,
        account_id=str(uuid4()),
    )
    return event, key


async def _last_commit(site: Site, event: SegmentsImportRequested) -> int:
    """Return the number of commits of an import."""
    steps = []

    async def count(step: int) -> None:
        steps.append(step)

    await site.run(import_segments, event, after_step=count)
    return max(steps)


@pytest.mark.requirement(SECTION, CRASH)
async def test_a_crash_right_after_the_last_commit(place: Place) -> None:
    """The job is done in the database, and its key says so once its event is handled. Before, no key is touched."""
    first, _ = await _import(place)
    last = await _last_commit(place.site, first)
    event, key = await _import(place)
    assert await place.site.crashes(import_segments, event, last)
    assert place.redis.get(key) == "waiting"
    assert await place.site.update_keys() == 1
    assert place.redis.get(key) == "completed"
    assert 0 < int(str(place.redis.ttl(key))) <= 600


@pytest.mark.requirement(SECTION, CRASH)
async def test_a_rolled_back_step_ends_no_job(place: Place) -> None:
    """The worker is killed before the last commit: there is no event, and the key says waiting, as the rows do."""
    first, _ = await _import(place)
    last = await _last_commit(place.site, first)
    event, key = await _import(place)

    async def kill(step: int) -> None:
        if step == last:
            raise CrashError

    with pytest.raises(CrashError):
        await place.site.run(import_segments, event, before_commit=kill)
    assert (await place.site.update_keys(), place.redis.get(key)) == (0, "waiting")
    await place.site.run(import_segments, event)
    assert place.redis.get(key) == "completed"


@pytest.mark.requirement(SECTION, CRASH)
async def test_a_dropped_collection_is_forgotten_after_a_crash(place: Place) -> None:
    dataset, _ = await place.indexed()
    key = f"vector_indexing_{place.site.collection(dataset.id)}"
    place.redis.set(key, "1")
    event = DatasetIndexChanged(tenant_id=place.site.tenant_id, dataset_id=dataset.id, action="update")
    assert await place.site.crashes(rebuild_dataset_index, event, 1)
    assert place.redis.exists(key) == 1
    assert await place.site.update_keys() == 1
    assert place.redis.exists(key) == 0


JOBS: dict[JobKind, tuple[str, str | None]] = {
    "segment-import": ("segment_batch_import_{}", None),
    "annotation-import": ("app_annotation_batch_import_{}", "app_annotation_batch_import_error_msg_{}"),
    "annotation-reply-enabling": ("enable_app_annotation_job_{}", "enable_app_annotation_error_{}"),
    "annotation-reply-disabling": ("disable_app_annotation_job_{}", "disable_app_annotation_error_{}"),
}
"""The platform's names."""


@pytest.mark.requirement(SECTION, "the platform's Redis keys of jobs keep their names, values and life times")
@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("error", [None, "no room"])
async def test_the_keys_of_a_job(place: Place, kind: JobKind, error: str | None) -> None:
    """A repetition sets the same."""
    event = JobEnded(kind=kind, job_id=str(uuid4()), error=error)
    status, reason = JOBS[kind]
    expected = {status.format(event.job_id): "completed" if error is None else "error"}
    if error is not None and reason is not None:
        expected[reason.format(event.job_id)] = error
    for _ in range(2):
        assert await place.site.run(report_job_end, event) == {"keys": len(expected)}
        assert {key: place.redis.get(key) for key in place.redis.keys(f"*{event.job_id}")} == expected
        assert all(0 < int(str(place.redis.ttl(key))) <= 600 for key in expected)


@pytest.mark.requirement(SECTION, CRASH)
@pytest.mark.parametrize(
    ("handler", "event"),
    [
        (report_job_end, JobEnded(kind="annotation-import", job_id=str(uuid4()))),
        (forget_collections, CollectionsDropped(collections=["a", "b"])),
    ],
    ids=["job", "collections"],
)
async def test_without_redis_no_attempt_counts(
    place: Place, handler: Handler[JobEnded | CollectionsDropped], event: JobEnded | CollectionsDropped
) -> None:
    """The event waits. Afterwards the key is what it must be."""
    away = replace(place.site.platform, keys=CoordinationKeys(redis_opener(NOWHERE), seconds=5))
    with pytest.raises(Unavailable, match="Redis does not answer") as error:
        await replace(place.site, platform=away).run(handler, event)
    assert error.value.dependency in handler.needs
    assert await place.site.run(handler, event) in ({"keys": 1}, {"deleted": 0})


@pytest.mark.requirement(SECTION, "the platform's Redis keys of jobs keep their names, values and life times")
async def test_no_other_key_can_be_named(place: Place) -> None:
    """An id that is none sets nothing, and a collection's name is only a part of its key."""
    with pytest.raises(Permanent):
        await place.site.run(report_job_end, JobEnded(kind="segment-import", job_id="*"))
    place.redis.set("features:tenant", "1")
    dropped = CollectionsDropped(collections=["features:tenant"])
    assert await place.site.run(forget_collections, dropped) == {"deleted": 0}
    assert place.redis.get("features:tenant") == "1"


@pytest.mark.requirement("Development", "no test depends on another's logging")
async def test_documents_that_end_together_do_not_wait_and_tell_of_it_once() -> None:
    """Each tries twice. The first one that fails logs a warning, and later ones do not try."""
    away = CoordinationKeys(redis_opener(NOWHERE), seconds=20.0)
    began = time.monotonic()
    with capture_logs() as logs:
        await asyncio.gather(*(away.indexing_ended(f"document {number}") for number in range(8)))
    assert [one["event"] for one in logs] == [NO_ANSWER]
    assert time.monotonic() - began < 3.0
    began = time.monotonic()
    await away.indexing_ended("the next")
    assert time.monotonic() - began < RETRY_SECONDS, "it has not tried"
