"""This project: `message.created` with one handler that does nothing, as a worker runs it."""

import os
from collections.abc import Sequence

from benchmarks.contenders.tally import Tally
from schemas import MessageCreated
from streams.bootstrap import build_app
from streams.delivery import Work, handles

tally = Tally()
TIMED = "TIMED" in os.environ


@handles(MessageCreated, kind="batch", ledger=False)
async def count_batch(events: Sequence[MessageCreated], _work: Work) -> None:
    """Count a list of decoded and validated events."""
    tally.add(len(events))


@handles(MessageCreated, ledger=False)
async def count_single(event: MessageCreated, _work: Work) -> None:
    """Count one event at a time, in the order of its key, under its limits."""
    tally.add(1, event.occurred_at.timestamp() if TIMED else None)


@handles(MessageCreated)
async def count_recorded(_event: MessageCreated, _work: Work) -> None:
    """Count one event at a time, with a row in the ledger and a transaction, as a handler has by default."""
    tally.add(1)


_KINDS = {"batch": count_batch, "single": count_single, "recorded": count_recorded}
app = build_app(handlers=[_KINDS[os.environ["KIND"]]])
