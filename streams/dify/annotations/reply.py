"""Annotation reply: whether an app answers from its annotations, and by which embedding model they are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.annotations.index import BINDING_TYPE, annotation_collection, app_embedder
from streams.dify.ids import checked_text
from streams.dify.models import AppAnnotationSetting, DatasetCollectionBinding, utc_now
from streams.dify.platform import Platform
from streams.dify.sql import affected_rows
from streams.dify.tenancy import tenant_of_app
from streams.dify.vector_stores.port import collection_name


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """What a person has chosen for an app."""

    app_id: str
    account_id: str
    score_threshold: float
    provider: str
    model: str
    requested_at: datetime


async def enable_reply(session: AsyncSession, platform: Platform, request: ReplyRequest) -> list[str]:
    """Write the app's setting and drop its earlier index. Returns the dropped collections.

    The caller has locked the app alone. From the commit on, the API requests the indexing of each changed annotation.
    So the rows that are read after it, and these requests, are all annotations.

    Raises RefusedError for a model that is not configured.
    """
    provider, model = checked_text("provider", request.provider), checked_text("model", request.model)
    await app_embedder(session, platform, request.app_id, provider, model)
    binding_id = await _binding(session, platform, request)
    settings = await _lock_settings(session, request.app_id)
    former = [setting.collection_binding_id for setting in settings]
    dropped = await _drop(session, platform, request.app_id, [*former, binding_id])
    chosen = {"score_threshold": request.score_threshold, "collection_binding_id": binding_id}
    if settings:
        of_app = AppAnnotationSetting.app_id == request.app_id
        changed = {**chosen, "updated_user_id": request.account_id, "updated_at": utc_now()}
        await session.execute(update(AppAnnotationSetting).where(of_app).values(changed))
    else:
        at = _marker(request.requested_at)
        session.add(
            AppAnnotationSetting(
                app_id=request.app_id,
                created_user_id=request.account_id,
                updated_user_id=request.account_id,
                created_at=at,
                updated_at=at,
                **chosen,
            )
        )
    await session.flush()
    return dropped


async def disable_reply(session: AsyncSession, platform: Platform, app_id: str) -> list[str]:
    """Drop the app's index and delete its settings, in one transaction. Returns the dropped collections."""
    settings = await _lock_settings(session, app_id)
    dropped = await _drop(session, platform, app_id, [None, *(one.collection_binding_id for one in settings)])
    await session.execute(delete(AppAnnotationSetting).where(AppAnnotationSetting.app_id == app_id))
    return dropped


async def withdraw_reply(session: AsyncSession, app_id: str, tenant_id: str | None, requested_at: datetime) -> bool:
    """Delete the setting that a failed request has created. A setting that existed before stays.

    Its creation time is the time of the request, to the microsecond. Raises ForeignTenantError.
    """
    await tenant_of_app(session, app_id, tenant_id)
    of_request = (AppAnnotationSetting.app_id == app_id) & (AppAnnotationSetting.created_at == _marker(requested_at))
    return await affected_rows(session, delete(AppAnnotationSetting).where(of_request)) > 0


async def _lock_settings(session: AsyncSession, app_id: str) -> Sequence[AppAnnotationSetting]:
    """Lock the settings of an app. Steps that write vectors have locked one, so they are over."""
    query = select(AppAnnotationSetting).where(AppAnnotationSetting.app_id == app_id)
    found = await session.scalars(
        query.order_by(AppAnnotationSetting.created_at, AppAnnotationSetting.id).with_for_update()
    )
    return found.all()


async def _binding(session: AsyncSession, platform: Platform, request: ReplyRequest) -> str:
    """Return the oldest binding of the model for annotations. Create it unless it exists."""
    name = f"collection binding of {request.provider} {request.model}"
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))
    known = {"provider_name": request.provider, "model_name": request.model, "type": BINDING_TYPE}
    query = select(DatasetCollectionBinding.id).filter_by(**known)
    found = await session.scalar(
        query.order_by(DatasetCollectionBinding.created_at, DatasetCollectionBinding.id).limit(1)
    )
    if found is not None:
        return found
    collection = collection_name(platform.collection_prefix, str(uuid4()))
    created = DatasetCollectionBinding(id=str(uuid4()), collection_name=collection, **known)
    session.add(created)
    await session.flush()
    return created.id


async def _drop(session: AsyncSession, platform: Platform, app_id: str, binding_ids: Sequence[str | None]) -> list[str]:
    """Drop an app's entries in the collections of the bindings. Returns the collections, without repetitions."""
    found = [await annotation_collection(session, platform, app_id, one) for one in binding_ids]
    collections = list(dict.fromkeys(found))
    for collection in collections:
        await platform.vectors.drop(session, collection, app_id, shared=False)
    return collections


def _marker(requested_at: datetime) -> datetime:
    return requested_at.astimezone(UTC).replace(tzinfo=None)
