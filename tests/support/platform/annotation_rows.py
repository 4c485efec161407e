"""Creates apps with annotations, and reads the index of their annotations."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from sqlalchemy import text

from schemas import AnnotationAdded, AnnotationDeleted, AnnotationReplyDisabled, AnnotationReplyEnabled
from streams.agents.annotations.annotation_reply import enable_annotation_reply
from streams.delivery.handler import JSON
from streams.dify.embedding.local import MODEL, PROVIDER
from streams.dify.models import App, AppAnnotationSetting, DatasetCollectionBinding, MessageAnnotation
from streams.dify.vector_stores.pgvector import table_name
from streams.dify.vector_stores.port import collection_name
from streams.settings import Settings
from tests.support.platform.handler_runs import Site


async def add_app(site: Site, **columns: object) -> App:
    """Add an app of the site's tenant."""
    known: dict[str, object] = {
        "id": str(uuid4()),
        "tenant_id": site.tenant_id,
        "name": "help desk",
        "mode": "chat",
        "enable_site": True,
        "enable_api": True,
    }
    app = App(**{**known, **columns})
    await site.add(app)
    return app


async def add_setting(site: Site, app: App, provider: str = PROVIDER, model: str = MODEL) -> AppAnnotationSetting:
    """Let an app answer from its annotations, with a binding of its own."""
    binding = DatasetCollectionBinding(
        id=str(uuid4()),
        provider_name=provider,
        model_name=model,
        type="annotation",
        collection_name=collection_name("Vector_index", str(uuid4())),
    )
    user = str(uuid4())
    setting = AppAnnotationSetting(
        id=str(uuid4()),
        app_id=app.id,
        score_threshold=0.9,
        collection_binding_id=binding.id,
        created_user_id=user,
        updated_user_id=user,
    )
    await site.add(binding, setting)
    return setting


async def add_annotations(site: Site, app: App, *questions: str | None) -> list[MessageAnnotation]:
    """Add an annotation per question."""
    rows = [
        MessageAnnotation(id=str(uuid4()), app_id=app.id, question=one, content="An answer.", account_id=str(uuid4()))
        for one in questions
    ]
    await site.add(*rows)
    return rows


def added(
    site: Site, annotation: MessageAnnotation, setting: AppAnnotationSetting, **fields: object
) -> AnnotationAdded:
    """Return the event that the platform sends after it has added an annotation."""
    known: dict[str, Any] = {
        "tenant_id": site.tenant_id,
        "annotation_id": annotation.id,
        "app_id": annotation.app_id,
        "question": annotation.question or "",
        "collection_binding_id": setting.collection_binding_id,
    }
    return AnnotationAdded(**{**known, **fields})


def deleted(site: Site, annotation: MessageAnnotation, setting: AppAnnotationSetting) -> AnnotationDeleted:
    """Return the event that the platform sends when it deletes an annotation."""
    return AnnotationDeleted(
        tenant_id=site.tenant_id,
        annotation_id=annotation.id,
        app_id=annotation.app_id,
        collection_binding_id=setting.collection_binding_id,
    )


def enabled(site: Site, app: App, provider: str = PROVIDER, model: str = MODEL) -> AnnotationReplyEnabled:
    """Return the event of a person who lets an app answer from its annotations."""
    return AnnotationReplyEnabled(
        tenant_id=site.tenant_id,
        job_id=str(uuid4()),
        app_id=app.id,
        account_id=str(uuid4()),
        score_threshold=0.8,
        embedding_provider_name=provider,
        embedding_model_name=model,
    )


def disabled(site: Site, app: App) -> AnnotationReplyDisabled:
    """Return the event of a person who stops that."""
    return AnnotationReplyDisabled(tenant_id=site.tenant_id, job_id=str(uuid4()), app_id=app.id)


async def run_enabling(site: Site, event: AnnotationReplyEnabled) -> list[JSON]:
    """Run a job with all of its steps. Returns the result of each."""
    results = [await site.run(enable_annotation_reply, event)]
    while following := await site.published():
        (step,) = following
        results.append(await site.run(enable_annotation_reply, step))
    return results


async def indexed(site: Site, app_id: str) -> dict[str, tuple[str, dict[str, str]]]:
    """Return the text and the metadata of each entry in the app's own pgvector collection, by id."""
    table = table_name(site.collection(app_id))
    async with site.transaction() as session:
        if await session.scalar(text("select to_regclass(quote_ident(:name))"), {"name": table}) is None:
            return {}
        rows = await session.execute(text(f'select id, text, meta from "{table}"'))
        return {str(node): (content, meta) for node, content, meta in rows}


async def questions(site: Site, app_id: str) -> list[str]:
    """Return the questions in the app's own pgvector collection, in alphabetical order."""
    return sorted(content for content, _ in (await indexed(site, app_id)).values())


async def job_state(settings: Settings, keys: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Return the values of those keys that exist, and whether they expire within ten minutes."""
    client = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
    try:
        values = {key: (await client.get(key), await client.ttl(key)) for key in keys}
    finally:
        await client.aclose()
    return {key: (str(value), 0 < ttl <= 600) for key, (value, ttl) in values.items() if value is not None}
