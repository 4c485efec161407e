"""The index of an app's annotations: which one it is, the questions in it, and how they are written and removed.

The rows decide what is in the index, and never an event: a step locks the app, its setting and the annotations, always
in this order, and writes only what they say. So events may be repeated or swapped, and a deletion wins.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.embedding.port import Embedder, Vector
from streams.dify.errors import BusyError, RefusedError, ReplyDisabled, Stopped
from streams.dify.ids import text_hash
from streams.dify.models import App, AppAnnotationSetting, DatasetCollectionBinding, MessageAnnotation
from streams.dify.platform import Platform
from streams.dify.sql import one_of
from streams.dify.tenancy import of_event, one_tenant
from streams.dify.vector_collections import bound_collection
from streams.dify.vector_stores.port import AnnotationEntry

BINDING_TYPE = "annotation"
"""The type of collection bindings for annotations."""
_CHANGED = "the embedding model of the app's annotations was changed meanwhile"


@dataclass(frozen=True, slots=True)
class AnnotationIndex:
    """Where the annotations of an app are found."""

    app_id: str
    binding_id: str
    collection: str
    provider: str
    model: str
    embedder: Embedder


async def lock_app(session: AsyncSession, app_id: str, tenant_id: str | None, *, alone: bool = False) -> str:
    """Lock the app's row until the transaction ends, so that a deletion waits. Returns its tenant.

    Args:
        session: the transaction.
        app_id: the app.
        tenant_id: the tenant that the event names; None: it names none.
        alone: also let other steps that change the app's setting wait.

    Raises:
        Stopped: there is no such app, or it is not in use.
        ForeignTenantError: the app belongs to another tenant.
    """
    query = select(App.tenant_id, App.status).where(App.id == app_id)
    found = (await session.execute(query.with_for_update(read=not alone, key_share=True))).one_or_none()
    one_tenant(of_event(tenant_id), (f"app {app_id}", found.tenant_id if found else None))
    if found is None or found.status != "normal":
        message = "the app does not exist, or is not in use"
        raise Stopped(message)
    owner: str = found.tenant_id
    return owner


async def lock_index(session: AsyncSession, platform: Platform, app_id: str) -> AnnotationIndex:
    """Return the index that the app's setting names. The setting cannot change until the transaction ends.

    Raises:
        ReplyDisabled: the app does not answer from its annotations.
        RefusedError: the setting names a model that is not configured, or none.
    """
    query = select(AppAnnotationSetting.collection_binding_id).where(AppAnnotationSetting.app_id == app_id)
    query = query.order_by(AppAnnotationSetting.created_at, AppAnnotationSetting.id).limit(1)
    binding_id = await session.scalar(query.with_for_update(read=True))
    if binding_id is None:
        message = "the app does not answer from its annotations"
        raise ReplyDisabled(message)
    binding = await session.get(DatasetCollectionBinding, binding_id)
    if binding is None or binding.type != BINDING_TYPE:
        message = f"the annotation setting of app {app_id} names no collection binding of annotations"
        raise RefusedError(message)
    collection = await annotation_collection(session, platform, app_id, binding_id)
    embedder = await app_embedder(session, platform, app_id, binding.provider_name, binding.model_name)
    return AnnotationIndex(app_id, binding_id, collection, binding.provider_name, binding.model_name, embedder)


async def app_embedder(session: AsyncSession, platform: Platform, app_id: str, provider: str, model: str) -> Embedder:
    """Return a model for the annotations of an app.

    Args:
        session: reads the rows of the app's tenant.
        platform: the services.
        app_id: the app.
        provider: the provider that the binding names.
        model: the model that the binding names.

    Raises:
        RefusedError: the model is not configured, and the tenant has no credential for it.
    """
    tenant_id = (await session.scalars(select(App.tenant_id).where(App.id == app_id))).one()
    return await platform.tenant_embedder(session, tenant_id, provider, model)


async def annotation_collection(session: AsyncSession, platform: Platform, app_id: str, binding_id: str | None) -> str:
    """Return the collection of an app's annotations: of the binding if the store shares collections, else its own."""
    return await bound_collection(session, platform, binding_id) or platform.collection(app_id, None)


async def next_questions(session: AsyncSession, app_id: str, after: str | None, limit: int) -> dict[str, str]:
    """Return the next annotations of an app in the order of their ids, with their questions. None: from the first."""
    query = select(MessageAnnotation.id, MessageAnnotation.question).where(MessageAnnotation.app_id == app_id)
    if after is not None:
        query = query.where(MessageAnnotation.id > after)
    rows = await session.execute(query.order_by(MessageAnnotation.id).limit(limit))
    return {annotation_id: question or "" for annotation_id, question in rows}


async def questions_of(
    session: AsyncSession, app_id: str, annotation_ids: Sequence[str], *, lock: bool = False
) -> dict[str, str]:
    """Return the questions of those annotations that exist and belong to the app. `lock`: they cannot change."""
    query = select(MessageAnnotation.id, MessageAnnotation.question)
    query = query.where(one_of(MessageAnnotation.id, annotation_ids), MessageAnnotation.app_id == app_id)
    query = query.order_by(MessageAnnotation.id)
    rows = await session.execute(query.with_for_update(read=True) if lock else query)
    return {annotation_id: question or "" for annotation_id, question in rows}


async def write_questions(
    session: AsyncSession,
    platform: Platform,
    index: AnnotationIndex,
    questions: Mapping[str, str],
    vectors: Mapping[str, Vector],
) -> int:
    """Write the vectors of annotations that still exist and have the same question. Returns their number.

    A question that was changed meanwhile is left out: the setting existed before, so the change has its own event.

    Args:
        session: the transaction. It has locked the app.
        platform: the services.
        index: the index that the vectors were made for.
        questions: the questions that were embedded, by annotation.
        vectors: the vectors, by the hash of the question. Questions without one are left out.

    Raises:
        ReplyDisabled: the app does not answer from its annotations any more.
        BusyError: it does so with another model now.
    """
    present = await lock_index(session, platform, index.app_id)
    if present.binding_id != index.binding_id:
        raise BusyError(_CHANGED, 0.0)
    current = await questions_of(session, index.app_id, list(questions), lock=True)
    entries = [
        AnnotationEntry(annotation_id, index.app_id, question, vectors[key])
        for annotation_id, question in current.items()
        if question == questions[annotation_id] and (key := text_hash(question)) in vectors
    ]
    if entries:
        await platform.vectors.create(session, index.collection, len(entries[0].vector))
        await platform.vectors.upsert(session, index.collection, entries)
    return len(entries)


async def remove_annotation(
    session: AsyncSession, platform: Platform, app_id: str, annotation_id: str, binding_id: str | None
) -> int:
    """Delete an annotation from every collection that may have it. Returns the number of deleted entries.

    `binding_id` is the binding that the event names. The app's setting may name another one by now.
    """
    named = await session.scalars(
        select(AppAnnotationSetting.collection_binding_id).where(AppAnnotationSetting.app_id == app_id)
    )
    bindings = dict.fromkeys((binding_id, *named))
    collections = {await annotation_collection(session, platform, app_id, one) for one in bindings}
    removed = 0
    for collection in sorted(collections):
        removed += await platform.vectors.delete_nodes(session, collection, app_id, [annotation_id])
    return removed


async def owner_of(session: AsyncSession, annotation_id: str) -> str | None:
    """Return the app of an annotation; None: the annotation does not exist (any more)."""
    return await session.scalar(select(MessageAnnotation.app_id).where(MessageAnnotation.id == annotation_id))
