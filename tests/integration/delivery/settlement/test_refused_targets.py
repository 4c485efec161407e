"""A DLQ that does not accept records delays only its own dead letters."""

import asyncio

import pytest

from streams import headers
from streams.delivery import Work, handles
from streams.delivery.delivery import now_ms
from streams.delivery.intake.background_tasks import CONCURRENT_SENDS
from streams.headers import Headers
from streams.settings import Settings
from streams.transport.kafka.records import Record
from tests.support.apps.trials import BatchTrialRequested, SingleTrialRequested
from tests.support.delivery_engine import open_bench
from tests.support.kafka_records import end_offsets
from tests.support.local_stack.cluster import delete_topic
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
UNREADABLE = CONCURRENT_SENDS + 4
"""More than the slots of one target."""


async def do_nothing(_event: SingleTrialRequested, _work: Work) -> None:
    """Succeed."""


def unreadable(topic: str, offset: int, added: Headers = ()) -> Record:
    return Record(topic, 0, offset, now_ms(), "CreateTime", b"key", b"\x00no event", added)


def retry_headers(topic: str, due_at: int) -> Headers:
    """Return the headers of a retry record of the handler `single`, due at a time (ms since the epoch)."""
    known = {headers.HANDLER: "single", headers.SEQ: 1, headers.ATTEMPT: 1, headers.DUE_AT: due_at}
    origin = {headers.ORIGIN_TOPIC: topic, headers.ORIGIN_PARTITION: 0, headers.ORIGIN_OFFSET: 0}
    return tuple((name, str(value).encode()) for name, value in (known | origin).items())


@pytest.mark.requirement(
    "Faults of others", "R5: unreadable records whose DLQ is missing delay no retry hop and no other dead letter"
)
async def test_a_missing_dlq_delays_neither_hops_nor_other_dead_letters(trial: Settings) -> None:
    """Records of an event topic and of a tier cannot be read, and their DLQ is missing. All other work is done."""
    handler = handles(SingleTrialRequested, name="single")(do_nothing)
    async with open_bench(trial, handler) as bench:
        catalogue = bench.context.catalogue
        broken, other = (catalogue.of(event).name for event in (SingleTrialRequested, BatchTrialRequested))
        tiers = list(catalogue.tiers("default"))
        await asyncio.to_thread(delete_topic, trial.kafka_bootstrap_servers, catalogue.dlq(broken))
        stuck = [
            bench.feed_records([unreadable(broken, offset) for offset in range(UNREADABLE)]),
            bench.feed_records(
                [unreadable(tiers[0], offset, retry_headers(broken, 0)) for offset in range(UNREADABLE)],
                tier_delay=0.0,
            ),
        ]
        await bench.until(lambda: bench.context.breakers.any_open, "the DLQ to be refused")
        buried = bench.feed_records([unreadable(other, 0)])
        waiting = bench.record(SingleTrialRequested(entity="e"), 0, retry_headers(broken, now_ms() + 60_000))
        moved = bench.feed_records([Record(tiers[1], 0, 0, now_ms(), "CreateTime", *_content(waiting))], tier_delay=0.0)
        await bench.settled(buried, 10)
        await bench.settled(moved, 10)
        assert end_offsets(trial, catalogue.dlq(other)) == 1
        assert end_offsets(trial, tiers[-1]) == 1
        assert [assignment.unsettled for assignment in stuck] == [UNREADABLE, UNREADABLE]


def _content(record: Record) -> tuple[bytes | None, bytes | None, Headers]:
    return record.key, record.value, record.headers
