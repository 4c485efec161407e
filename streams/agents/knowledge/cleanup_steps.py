"""Continues a clean-up after a step: with the next step, with a repetition later, or not at all."""

from collections.abc import Mapping

from schemas import Event
from schemas.event import new_event_id
from streams.agents.repetition import publish_repetition
from streams.delivery import Work
from streams.delivery.handler import JSON
from streams.dify.cleanup.delete import DatasetCleanupStep
from streams.dify.platform import Platform
from streams.observability.logs import get_logger

log = get_logger(__name__)


async def publish_next_step(event: Event, work: Work, step: DatasetCleanupStep) -> JSON:
    """Publish the next step, or after the last step one repetition. Returns what this step has deleted.

    A store outside the database is cleaned up again 15 minutes after the deletion. A clean-up that ends later than that
    is not repeated.
    """
    if not step.done:
        # Later steps cannot find the tenant again, since its rows are deleted by then.
        following = {"event_id": new_event_id(), "tenant_id": step.scope.tenant_id}
        await work.publish(event.model_copy(update=following))
    elif not work.use(Platform).vectors.transactional:
        await publish_repetition(event, work)
    result: dict[str, JSON] = {"done": step.done, "removed": _counts(step.removed)}
    if kept := _counts(step.kept):
        log.warning("not deleted: no sign that it is the tenant's", scope=str(step.scope), kept=kept)
        result["kept"] = kept
    return result


def _counts(counter: Mapping[str, int]) -> dict[str, JSON]:
    return {name: count for name, count in counter.items() if count}
