"""The platform's keys while Redis is unavailable."""

import asyncio
import time

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from streams.dify.coordination_keys import NO_ANSWER, CoordinationKeys
from streams.dify.redis import redis_opener
from streams.settings import Settings


@pytest.mark.requirement("Development", "no test depends on another's logging")
async def test_documents_that_end_together_do_not_wait_and_tell_of_it_once(settings: Settings) -> None:
    """Each tries twice. The first one that fails logs a warning, and later ones do not try."""
    nowhere = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    away = CoordinationKeys(redis_opener(nowhere), seconds=20.0)
    began = time.monotonic()
    with capture_logs() as logs:
        await asyncio.gather(*(away.indexing_ended(f"document {number}") for number in range(8)))
    assert [one["event"] for one in logs] == [NO_ANSWER]
    assert time.monotonic() - began < 3.0
    began = time.monotonic()
    await away.indexing_ended("the next")
    assert time.monotonic() - began < 0.1
