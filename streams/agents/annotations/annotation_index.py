"""Handlers for single annotations: their questions in the app's index are those of their rows."""

from schemas import AnnotationAdded, AnnotationDeleted, AnnotationUpdated
from streams.agents.annotations.annotation_embedding import embed_questions
from streams.agents.error_mapping import mapped_errors
from streams.agents.repetition import publish_repetition
from streams.delivery import Backoff, Retry, Work, handles
from streams.delivery.errors import Reason
from streams.delivery.handler import JSON
from streams.dify.annotations.index import (
    lock_app,
    lock_index,
    owner_of,
    questions_of,
    remove_annotation,
)
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id, optional_id
from streams.dify.platform import Platform
from streams.dify.tenancy import tenant_of_app

RETRY = Backoff(first="10s", factor=6, attempts=5)


def annotation_resource(event: AnnotationAdded | AnnotationUpdated) -> str:
    """Return the resource that work on this annotation locks."""
    return f"annotation:{event.annotation_id}"


@handles(
    AnnotationAdded,
    kind="long",
    resource=annotation_resource,
    retry=RETRY,
    soft_time_limit="2m",
    time_limit="3m",
    needs="embeddings",
)
async def index_added_annotation(event: AnnotationAdded, work: Work) -> JSON:
    """Write the question of the annotation's row to the app's index."""
    return await _index(event, work)


@handles(
    AnnotationUpdated,
    kind="long",
    resource=annotation_resource,
    retry=RETRY,
    soft_time_limit="2m",
    time_limit="3m",
    needs="embeddings",
)
async def index_updated_annotation(event: AnnotationUpdated, work: Work) -> JSON:
    """Write the question of the annotation's row to the app's index, in place of the former one."""
    return await _index(event, work)


async def _index(event: AnnotationAdded | AnnotationUpdated, work: Work) -> JSON:
    platform = work.use(Platform)
    try:
        with mapped_errors():
            app_id = checked_id("app_id", event.app_id)
            annotation_id = checked_id("annotation_id", event.annotation_id)
            async with work.step() as session:
                await lock_app(session, app_id, event.tenant_id)
                index = await lock_index(session, platform, app_id)
                questions = await questions_of(session, app_id, [annotation_id])
                if not questions:
                    _check_app(await owner_of(session, annotation_id), app_id, annotation_id)
                    return {"skipped": "the annotation is gone"}
            embedded = await embed_questions(work, index, questions)
            if embedded.error is not None:
                raise embedded.error
            async with work.step(final=True) as session:
                await lock_app(session, app_id, event.tenant_id)
                indexed = await embedded.write(session, platform)
                if not embedded.vectors:  # A blank question cannot be found.
                    await remove_annotation(session, platform, app_id, annotation_id, index.binding_id)
            return {"indexed": indexed}
    except Stopped as stopped:
        return {"skipped": str(stopped)}


@handles(AnnotationDeleted)
async def remove_deleted_annotation(event: AnnotationDeleted, work: Work) -> JSON:
    """Delete the annotation from the app's index. It retries while the row still exists."""
    platform = work.use(Platform)
    with mapped_errors():
        app_id = checked_id("app_id", event.app_id)
        annotation_id = checked_id("annotation_id", event.annotation_id)
        binding_id = optional_id("collection_binding_id", event.collection_binding_id)
        await tenant_of_app(work.session, app_id, event.tenant_id)
        owner = await owner_of(work.session, annotation_id)
        if owner is not None:
            _check_app(owner, app_id, annotation_id)
            message = f"annotation {annotation_id} still has its row"
            raise Retry(message, reason=Reason.ROW_STILL_EXISTS)
        removed = await remove_annotation(work.session, platform, app_id, annotation_id, binding_id)
    if not platform.vectors.transactional:
        # A request to write, sent before the deletion, may still arrive at the store.
        await publish_repetition(event, work)
    return {"removed": removed}


def _check_app(owner: str | None, app_id: str, annotation_id: str) -> None:
    if owner not in {None, app_id}:
        message = f"annotation {annotation_id} belongs to another app than the event"
        raise RefusedError(message)


HANDLERS = (index_added_annotation, index_updated_annotation, remove_deleted_annotation)
