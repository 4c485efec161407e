"""Handlers for annotation reply: an app begins or stops to answer from its annotations."""

from contextlib import suppress

from schemas import AnnotationReplyDisabled, AnnotationReplyEnabled
from schemas.event import new_event_id
from streams.agents.annotations.annotation_embedding import embed_questions
from streams.agents.error_mapping import mapped_errors
from streams.agents.workspace.coordination_keys import publish_dropped, publish_job_end
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.annotations.index import AnnotationIndex, lock_app, lock_index, next_questions
from streams.dify.annotations.reply import (
    ReplyRequest,
    disable_reply,
    enable_reply,
    withdraw_reply,
)
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.observability.error_text import owner_message

GROUP_SIZE = 100
"""The number of annotations that one step indexes."""
FIRST = "00000000-0000-0000-0000-000000000000"
"""The cursor before the first annotation."""
RETRY = Backoff(first="10s", factor=6, attempts=5)


def reply_resource(event: AnnotationReplyEnabled | AnnotationReplyDisabled) -> str:
    """Return the resource that the jobs of one app lock."""
    return f"annotation-reply:{event.app_id}"


async def record_failed_enabling(event: AnnotationReplyEnabled, work: Work, error: BaseException) -> None:
    """Report the failure to the person who waits, and delete the setting that the job has created."""
    try:
        await _publish_end(event, work, owner_message(error))
        if event.cursor is not None:
            app_id = checked_id("app_id", event.app_id)
            await withdraw_reply(work.session, app_id, event.tenant_id, event.occurred_at)
    except RefusedError:
        return  # No job or app has such an id, or the app is another tenant's: there is nothing to undo.


@handles(
    AnnotationReplyEnabled,
    kind="long",
    resource=reply_resource,
    retry=RETRY,
    soft_time_limit="5m",
    time_limit="6m",
    needs="embeddings",
    on_dead=record_failed_enabling,
)
async def enable_annotation_reply(event: AnnotationReplyEnabled, work: Work) -> JSON:
    """Write the app's setting, then index its annotations in groups. Each step publishes the next one.

    A later step does nothing if a person has disabled annotation reply since then.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            checked_id("job_id", event.job_id)
            app_id = checked_id("app_id", event.app_id)
            if event.cursor is None:
                return await _begin(event, work, platform, app_id)
            return await _index_next(event, work, platform, app_id, checked_id("cursor", event.cursor))
    except Stopped as stopped:
        async with work.step(final=True):
            await _publish_end(event, work, str(stopped))
        return {"skipped": str(stopped)}


async def _begin(event: AnnotationReplyEnabled, work: Work, platform: Platform, app_id: str) -> JSON:
    request = ReplyRequest(
        app_id,
        checked_id("account_id", event.account_id),
        event.score_threshold,
        event.embedding_provider_name,
        event.embedding_model_name,
        event.occurred_at,
    )
    async with work.step(final=True) as session:
        tenant_id = await lock_app(session, app_id, event.tenant_id, alone=True)
        dropped = await enable_reply(session, platform, request)
        following = {"event_id": new_event_id(), "tenant_id": tenant_id, "cursor": FIRST}
        await work.publish(event.model_copy(update=following))
        await publish_dropped(work, tenant_id, dropped)
    return {"done": False, "indexed": 0}


async def _index_next(event: AnnotationReplyEnabled, work: Work, platform: Platform, app_id: str, cursor: str) -> JSON:
    async with work.step() as session:
        await lock_app(session, app_id, event.tenant_id)
        index = await lock_index(session, platform, app_id)
        _check_model(event, index)
        questions = await next_questions(session, app_id, cursor, GROUP_SIZE)
    done = len(questions) < GROUP_SIZE
    embedded = await embed_questions(work, index, questions)
    async with work.step(final=embedded.error is None) as session:
        await lock_app(session, app_id, event.tenant_id)
        indexed = await embedded.write(session, platform)
        if embedded.error is None and not done:
            following = {"event_id": new_event_id(), "cursor": max(questions)}
            await work.publish(event.model_copy(update=following))
        elif embedded.error is None:
            await _publish_end(event, work)
    if embedded.error is not None:
        raise embedded.error
    return {"done": done, "indexed": indexed}


def _check_model(event: AnnotationReplyEnabled, index: AnnotationIndex) -> None:
    """Raise Stopped if a later request has chosen another model: its own steps index the annotations."""
    if (index.provider, index.model) != (event.embedding_provider_name, event.embedding_model_name):
        message = "another embedding model was chosen meanwhile"
        raise Stopped(message)


async def record_failed_disabling(event: AnnotationReplyDisabled, work: Work, error: BaseException) -> None:
    """Report the failure to the person who waits."""
    await _publish_end(event, work, owner_message(error))


@handles(
    AnnotationReplyDisabled,
    kind="long",
    resource=reply_resource,
    retry=RETRY,
    soft_time_limit="2m",
    time_limit="3m",
    on_dead=record_failed_disabling,
)
async def disable_annotation_reply(event: AnnotationReplyDisabled, work: Work) -> JSON:
    """Delete the app's setting and its index in one step, then report the job as completed."""
    platform = work.use(Platform)
    try:
        with mapped_errors():
            checked_id("job_id", event.job_id)
            app_id = checked_id("app_id", event.app_id)
            async with work.step(final=True) as session:
                tenant_id = await lock_app(session, app_id, event.tenant_id, alone=True)
                await publish_dropped(work, tenant_id, await disable_reply(session, platform, app_id))
                await _publish_end(event, work)
    except Stopped as stopped:
        async with work.step(final=True):
            await _publish_end(event, work, str(stopped))
        return {"skipped": str(stopped)}
    return {"done": True}


async def _publish_end(
    event: AnnotationReplyEnabled | AnnotationReplyDisabled, work: Work, error: str | None = None
) -> None:
    """Publish the end that a person waits for. No job has an id that is not a UUID."""
    is_enabling = isinstance(event, AnnotationReplyEnabled)
    with suppress(RefusedError):
        await publish_job_end(
            work,
            event.tenant_id,
            "annotation-reply-enabling" if is_enabling else "annotation-reply-disabling",
            checked_id("job_id", event.job_id),
            error,
        )


HANDLERS = (enable_annotation_reply, disable_annotation_reply)
