"""The checks of the storage, Redis and the queues of Celery. Each uses the service as a handler would."""

import asyncio
from uuid import uuid4

from streams.dify.redis import redis_opener
from streams.observability.error_text import message
from streams.operations.alerts.celery_queues import CeleryBrokerError, build_celery_queues
from streams.operations.doctor.finding import Finding, ok
from streams.settings import Settings
from streams.storage import Store, open_store

_CELERY = "Celery queues"
PROBE_FOLDER = "streams_doctor"
"""The folder of the file that the check of the storage writes and removes."""


def examine_storage(settings: Settings) -> Finding:
    """Write a file, read it and delete it. Raises SettingsError for an invalid URL."""
    return check_store(open_store(settings))


def check_store(store: Store) -> Finding:
    """Return whether a file can be written, read and deleted."""
    key, content = f"{PROBE_FOLDER}/{uuid4()}", b"streams doctor"
    try:
        store.write(key, content)
        found = store.read(key)
        store.delete(key)
    except Exception as error:  # noqa: BLE001 - any error of the storage is what was to be found
        remedy = "let the worker's user read and write there (STREAMS_STORAGE_URL)"
        return Finding("storage", "fail", message(error), remedy)
    if found != content:
        return Finding("storage", "fail", "a file was read that differs from what was written", "check the storage")
    return ok("storage", "a file can be written, read and deleted")


def examine_redis(settings: Settings) -> Finding:
    """Ask Redis. Without it, some keys of the platform stay until they expire. Raises SettingsError."""
    opener = redis_opener(settings)

    async def ping() -> None:
        async with opener() as client:
            await client.exists("streams_doctor")

    try:
        asyncio.run(ping())
    except Exception as error:  # noqa: BLE001 - any error of Redis is what was to be found
        return Finding("Redis", "warning", message(error), "start Redis, or correct STREAMS_REDIS_URL")
    return ok("Redis", "it answers")


def examine_celery(settings: Settings) -> list[Finding]:
    """Ask the broker of the platform's Celery for the tasks that wait; nothing without STREAMS_CELERY_BROKER_URL."""
    queues = build_celery_queues(settings)
    if queues is None:
        return []
    try:
        lengths = asyncio.run(queues.lengths())
    except CeleryBrokerError as error:
        remedy = "start its Redis, or correct STREAMS_CELERY_BROKER_URL"
        return [Finding(_CELERY, "warning", message(error), remedy)]
    if waiting := [f"{name} ({length} tasks)" for name, length in lengths.items() if length]:
        remedy = "let the platform's workers drain them before their tasks move here"
        return [Finding(_CELERY, "warning", f"not drained: {', '.join(waiting)}", remedy)]
    return [ok(_CELERY, "every queue is empty")]
