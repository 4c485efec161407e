"""Handlers for a document that was enabled or disabled: the index gets or loses its segments."""

from schemas import DocumentDisabled, DocumentEnabled
from streams.agents.error_mapping import mapped_errors
from streams.agents.knowledge.document_indexing import document_resource
from streams.agents.knowledge.document_loading import load_keywords, load_vectors
from streams.delivery import Backoff, Work, handles
from streams.delivery.handler import JSON
from streams.dify.errors import RefusedError, Stopped
from streams.dify.ids import checked_id, optional_id
from streams.dify.platform import Platform
from streams.dify.reindexing.document import disable, enable, finish, record_not_disabled, record_not_enabled
from streams.dify.reindexing.target import StandingTarget, is_foreign
from streams.observability.error_text import owner_message

Switched = DocumentEnabled | DocumentDisabled


async def record_failed_enabling(event: DocumentEnabled, work: Work, error: BaseException) -> None:
    """Disable the document again, with the status error and the reason."""
    if (ids := await _own_ids(event, work)) is not None:
        await record_not_enabled(work.session, *ids, owner_message(error))
        await _clear(event, work.use(Platform))


async def record_failed_disabling(event: DocumentDisabled, work: Work, error: BaseException) -> None:  # noqa: ARG001 - the platform has no place for the reason
    """Enable the document again, unless it is archived."""
    if (ids := await _own_ids(event, work)) is not None:
        await record_not_disabled(work.session, *ids)
        await _clear(event, work.use(Platform))


@handles(
    DocumentEnabled,
    kind="long",
    resource=document_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="30m",
    time_limit="35m",
    needs=("embeddings", "storage"),
    on_dead=record_failed_enabling,
)
async def add_document_to_index(event: DocumentEnabled, work: Work) -> JSON:
    """Write the vectors or keywords of all complete segments of an enabled document.

    Segments that a person disabled stay disabled. If the document was disabled, archived or deleted since, nothing is
    done.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            document_id, tenant_id = checked_id("document_id", event.document_id), _tenant(event)
            async with work.step() as session:
                target = await enable(session, platform, document_id, tenant_id)
            await write(target, work, platform)
            async with work.step(final=True) as session:
                result: dict[str, JSON] = {**await finish(session, platform, target)}
    except Stopped as stopped:
        result = {"skipped": str(stopped)}
    await _clear(event, platform)
    return result


@handles(
    DocumentDisabled,
    kind="long",
    resource=document_resource,
    retry=Backoff(first="10s", factor=6, attempts=5),
    soft_time_limit="5m",
    time_limit="6m",
    needs=("storage",),
    on_dead=record_failed_disabling,
)
async def remove_document_from_index(event: DocumentDisabled, work: Work) -> JSON:
    """Delete the vectors and keywords of a disabled or archived document, and disable its segments.

    If the document was enabled since, nothing is done.
    """
    platform = work.use(Platform)
    try:
        with mapped_errors():
            document_id, tenant_id = checked_id("document_id", event.document_id), _tenant(event)
            async with work.step(final=True) as session:
                removed = await disable(session, platform, document_id, tenant_id)
            result: dict[str, JSON] = {**removed._asdict()}
    except Stopped as stopped:
        result = {"skipped": str(stopped)}
    await _clear(event, platform)
    return result


async def write(target: StandingTarget, work: Work, platform: Platform) -> None:
    """Write the vectors or keywords of a target, as its dataset requires."""
    if target.embedder is None:
        await load_keywords(target, work, platform)
    else:
        await load_vectors(target, target.embedder, work, platform)


def _tenant(event: Switched) -> str | None:
    return optional_id("tenant_id", event.tenant_id)


async def _own_ids(event: Switched, work: Work) -> tuple[str, str | None] | None:
    """Return the ids of document and tenant; None: no document of this tenant has such an id."""
    try:
        ids = checked_id("document_id", event.document_id), _tenant(event)
    except RefusedError:
        return None
    return None if await is_foreign(work.session, *ids) else ids


async def _clear(event: Switched, platform: Platform) -> None:
    """Delete the platform's key that refuses the next change of the document."""
    await platform.keys.delete(f"document_{event.document_id}_indexing")


HANDLERS = (add_document_to_index, remove_document_from_index)
