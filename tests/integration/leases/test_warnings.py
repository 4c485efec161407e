"""What a long handler warns of stands in its execution's row, and the delivery still succeeds."""

import pytest

from streams.delivery import Backoff, Work, handles
from streams.settings import Settings
from tests.support.apps.trials import LongTrialRequested, Plan, note
from tests.support.delivery_engine import open_bench
from tests.support.trial_fixtures import environment, trial

__all__ = ["environment", "trial"]
PLANS: tuple[Plan, ...] = ("succeed", "fail", "end")
ROWS = "select status, warnings from streams.executions order by event_id"


@handles(
    LongTrialRequested,
    name="warns",
    kind="long",
    retry=Backoff(first="1h", attempts=2, jitter=0),
    resource=lambda event: event.entity,
)
async def warn(event: LongTrialRequested, work: Work) -> None:
    """Warn before and inside a step; fail after it, or say in the final step that nothing is wrong any more."""
    work.warn(["too early"])
    async with work.step():
        work.warn(["page 2 cannot be read", 'a "quoted" name'])
    if event.plan == "fail":
        message = "the model does not answer"
        raise ValueError(message)
    async with work.step(final=True):
        if event.plan == "end":
            work.warn([])
        await note(event, work, "warns")


@pytest.mark.requirement("Extraction", "a document is completed with a warning that the ledger shows")
async def test_warnings_stand_in_the_row_of_the_execution(trial: Settings) -> None:
    """Those of a step that is committed stay: the next attempt may not read the file again."""
    async with open_bench(trial, warn, pool="low") as bench:
        for plan in PLANS:
            await bench.settled(bench.feed(LongTrialRequested(entity=plan, plan=plan)))
            await bench.until(lambda: bench.engine.running == 0, "the end")
        rows = await bench.query(ROWS)
    kept = ["page 2 cannot be read", 'a "quoted" name']
    assert [(row["status"], row["warnings"]) for row in rows] == [("success", kept), ("retry", kept), ("success", None)]
