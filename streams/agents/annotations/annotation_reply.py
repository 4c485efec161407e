"""Handlers for annotation reply: an app begins or stops to answer from its annotations."""

from schemas import AnnotationReplyDisabled, AnnotationReplyEnabled
from schemas.event import new_event_id
from streams.agents.annotations.annotation_embedding import embed_questions
from streams.agents.annotations.failed_job import report_failed_job
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.annotations.index import AnnotationIndex, lock_app, lock_index, next_questions
from streams.dify.annotations.job_keys import DISABLE, ENABLE
from streams.dify.annotations.reply import (
    ReplyRequest,
    disable_reply,
    enable_reply,
    withdraw_reply,
)
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id
from streams.dify.platform import Platform
from streams.dify.vector_collections import existence_keys

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
        job_id = checked_id("job_id", event.job_id)
        await ENABLE.failed(work.use(Platform).keys, job_id, str(error) or type(error).__name__)
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
    job_id = event.job_id
    try:
        with mapped_errors():
            job_id = checked_id("job_id", event.job_id)
            app_id = checked_id("app_id", event.app_id)
            if event.cursor is None:
                return await _begin(event, work, platform, app_id)
            return await _index_next(event, work, platform, app_id, checked_id("cursor", event.cursor))
    except Stopped as stopped:
        await ENABLE.failed(platform.keys, job_id, str(stopped))
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
    await platform.keys.delete(*existence_keys(dropped))
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
    if embedded.error is not None:
        raise embedded.error
    if done:
        await ENABLE.completed(platform.keys, checked_id("job_id", event.job_id))
    return {"done": done, "indexed": indexed}


def _check_model(event: AnnotationReplyEnabled, index: AnnotationIndex) -> None:
    """Raise Stopped if a later request has chosen another model: its own steps index the annotations."""
    if (index.provider, index.model) != (event.embedding_provider_name, event.embedding_model_name):
        message = "another embedding model was chosen meanwhile"
        raise Stopped(message)


async def record_failed_disabling(event: AnnotationReplyDisabled, work: Work, error: BaseException) -> None:
    """Report the failure to the person who waits."""
    await report_failed_job(DISABLE, event.job_id, work, error)


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
    job_id = event.job_id
    try:
        with mapped_errors():
            job_id = checked_id("job_id", event.job_id)
            app_id = checked_id("app_id", event.app_id)
            async with work.step(final=True) as session:
                await lock_app(session, app_id, event.tenant_id, alone=True)
                dropped = await disable_reply(session, platform, app_id)
    except Stopped as stopped:
        await DISABLE.failed(platform.keys, job_id, str(stopped))
        return {"skipped": str(stopped)}
    await platform.keys.delete(*existence_keys(dropped))
    await DISABLE.completed(platform.keys, job_id)
    return {"done": True}


HANDLERS = (enable_annotation_reply, disable_annotation_reply)
