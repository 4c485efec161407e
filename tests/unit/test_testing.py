"""`streams.testing.run`: a handler tested by its author, without a stack."""

import asyncio
from datetime import UTC, datetime

import pytest

from schemas import DocumentDeleted
from streams.delivery import Permanent, SoftTimeLimitExceeded, Work, handles
from streams.testing import Published, run
from tests.support.factories import an_event


@pytest.mark.requirement("Faults and operations", "`streams.testing.run`")
async def test_it_gives_the_result_and_what_was_published() -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)

    async def function(event: DocumentDeleted, work: Work) -> dict[str, int]:
        await work.publish(event, at)
        return {"attempt": work.attempt, "sum": await work.compute(sum, [1, 2])}

    event = an_event()
    done = await run(handles(DocumentDeleted, name="h")(function), event, attempt=3)
    assert done.result == {"attempt": 3, "sum": 3}
    assert done.published == (Published(event, at),)


async def test_a_batch_handler_gets_its_list() -> None:
    async def function(events: list[DocumentDeleted], _work: Work) -> int:
        return len(events)

    assert (await run(handles(DocumentDeleted, kind="batch")(function), [an_event(), an_event()])).result == 2


async def test_what_the_handler_raises_comes_out() -> None:
    async def function(_event: DocumentDeleted, _work: Work) -> None:
        raise Permanent("no")

    with pytest.raises(Permanent):
        await run(handles(DocumentDeleted)(function), an_event())


@pytest.mark.requirement("Faults and operations", "`streams.testing.run`")
async def test_limits_and_results_are_checked_as_in_a_worker() -> None:
    async def slow(_event: DocumentDeleted, _work: Work) -> None:
        await asyncio.sleep(60)

    async def no_json(_event: DocumentDeleted, _work: Work) -> set[int]:
        return {1}

    with pytest.raises(SoftTimeLimitExceeded):
        await run(handles(DocumentDeleted, soft_time_limit="20ms", time_limit="1s")(slow), an_event())
    with pytest.raises(TypeError):
        await run(handles(DocumentDeleted)(no_json), an_event())  # type: ignore[arg-type]  # what it must not return


async def test_sql_without_an_engine_says_what_to_give() -> None:
    async def function(_event: DocumentDeleted, work: Work) -> None:
        _ = work.session

    with pytest.raises(TypeError, match="give an engine"):
        await run(handles(DocumentDeleted, name="h")(function), an_event())
