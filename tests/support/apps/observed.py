"""The trial events with a second handler on one topic: while it is paused, its deliveries are deferred."""

from streams.delivery import Work, handles
from tests.support.apps import trials
from tests.support.apps.trials import QUICK, SingleTrialRequested, note


@handles(SingleTrialRequested, retry=QUICK)
async def watch_single(event: SingleTrialRequested, work: Work) -> None:
    """Write an effect of its own."""
    await note(event, work, "watch-single")


TOPICS = trials.TOPICS
HANDLERS = (*trials.HANDLERS, watch_single)
