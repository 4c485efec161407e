"""Handlers for deleted apps and conversations: clean up after them."""

from schemas import AnnotationDeleted, AppDeleted, ConversationDeleted
from schemas.event import new_event_id
from streams.agents.error_mapping import mapped_errors
from streams.agents.repetition import publish_repetition
from streams.agents.workspace.coordination_keys import publish_dropped
from streams.delivery import Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.cleanup.app import app_exists, clean_deleted_app
from streams.dify.cleanup.bounded_deletion import DeletionStep
from streams.dify.cleanup.conversation import clean_deleted_conversation, conversation_exists
from streams.dify.ids import checked_id
from streams.dify.platform import Platform


@handles(AppDeleted, soft_time_limit="60s", time_limit="90s")
async def clean_app(event: AppDeleted, work: Work) -> JSON:
    """Delete everything that a deleted app has left, in bounded steps. Each step publishes the next one."""
    with mapped_errors():
        app_id = checked_id("app_id", event.app_id)
        if await app_exists(work.session, app_id, event.tenant_id):
            message = f"app {app_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        step = await clean_deleted_app(work.session, work.use(Platform), app_id, event.tenant_id)
    await publish_dropped(work, step.tenant_id, step.collections)
    return await _continue(event, work, step)


@handles(ConversationDeleted, soft_time_limit="60s", time_limit="90s")
async def clean_conversation(event: ConversationDeleted, work: Work) -> JSON:
    """Delete everything that a deleted conversation has left, in bounded steps. Each step publishes the next one.

    The deleted annotations are removed from the annotation index of their app by `annotation.deleted`.
    """
    with mapped_errors():
        conversation_id = checked_id("conversation_id", event.conversation_id)
        if await conversation_exists(work.session, conversation_id, event.tenant_id):
            message = f"conversation {conversation_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        step = await clean_deleted_conversation(work.session, work.use(Platform), conversation_id, event.tenant_id)
    for one in step.annotations:
        await work.publish(
            AnnotationDeleted(
                tenant_id=step.tenant_id,
                annotation_id=one.annotation_id,
                app_id=one.app_id,
                collection_binding_id=one.collection_binding_id,
            )
        )
    return await _continue(event, work, step)


async def _continue(event: AppDeleted | ConversationDeleted, work: Work, step: DeletionStep) -> JSON:
    """Publish the next step, or after the last step one repetition. Returns what this step has deleted.

    The repetition finds what an answer or a run wrote that was still under way.
    """
    # Later steps may not find the tenant again, since its rows are deleted by then.
    following = event.model_copy(update={"event_id": new_event_id(), "tenant_id": step.tenant_id})
    if not step.done:
        await work.publish(following)
    else:
        await publish_repetition(following, work)
    return {"done": step.done, "removed": {name: count for name, count in step.removed.items() if count}}


HANDLERS = (clean_app, clean_conversation)
"""One per kind of deletion."""
