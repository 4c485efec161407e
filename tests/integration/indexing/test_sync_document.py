"""A document is indexed again if its source has changed, and not changed otherwise."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis import Redis

from schemas import DocumentIndexRequested, DocumentSyncRequested
from streams.agents.knowledge.document_indexing import index_document
from streams.agents.knowledge.document_sync import sync_document
from streams.delivery import Permanent, Retry
from streams.delivery.handler import JSON
from streams.dify.errors import ServiceError
from streams.dify.models import Document
from streams.settings import Settings
from tests.support.fakes.source_server import Service, open_service
from tests.support.platform.handler_runs import Site, open_site

PAGE = str(uuid4())


@pytest.fixture
def service() -> Iterator[Service]:
    with open_service() as opened:
        yield opened


@pytest.fixture
async def site(database_url: str, settings: Settings, tmp_path: Path, service: Service) -> AsyncIterator[Site]:
    addresses: dict[str, object] = {"notion_url": service.url, "jina_url": service.url}
    async with open_site(
        database_url,
        tmp_path,
        notion_token="t",
        notion_tenants="*",
        redis_url=settings.redis_url.get_secret_value(),
        **addresses,
    ) as opened:
        yield opened


def _notion(service: Service, edited: str, *paragraphs: str) -> None:
    blocks = [{"type": "paragraph", "id": "x", "paragraph": {"rich_text": [{"plain_text": one}]}} for one in paragraphs]
    service.answer(f"GET /v1/pages/{PAGE}", {"last_edited_time": edited})
    service.answer(f"GET /v1/blocks/{PAGE}/children", {"results": blocks, "has_more": False})


async def _from(site: Site, kind: str, **info: object) -> Document:
    return await site.add_document(
        await site.add_dataset(), None, data_source_type=kind, data_source_info=json.dumps(info)
    )


async def _sync(site: Site, document: Document) -> JSON:
    event = DocumentSyncRequested(tenant_id=site.tenant_id, dataset_id=document.dataset_id, document_id=document.id)
    return await site.run(sync_document, event)


async def _contents(site: Site, document: Document) -> list[str]:
    return [segment.content for segment in await site.segments(document.id) if segment.enabled]


@pytest.mark.requirement(
    "Pause, resume, retry, duplicates",
    "a page that was edited is indexed anew, one that was not is left alone",
)
async def test_a_notion_page_is_indexed_anew_once_it_was_edited(site: Site, service: Service) -> None:
    """Not edited: no request. Edited: one request; the previous content is found until it has run."""
    _notion(service, "2026-11-02T09:30:00.000Z", "Soup today.")
    document = await _from(site, "notion_import", notion_page_id=PAGE, type="page", notion_workspace_id="w")
    await site.run(index_document, site.request(document))

    assert await _sync(site, document) == {"changed": False}
    assert await site.published() == []

    _notion(service, "2026-11-03T10:00:00.000Z", "Stew today.")
    assert await _sync(site, document) == {"changed": True}
    (request,) = await site.published()
    assert isinstance(request, DocumentIndexRequested)
    assert (request.document_id, request.dataset_id, request.tenant_id) == (
        document.id,
        document.dataset_id,
        site.tenant_id,
    )
    assert (await site.document(document.id)).indexing_status == "waiting"
    assert await _contents(site, document) == ["Soup today."]

    await site.run(index_document, request)
    assert await _contents(site, document) == ["Stew today."]
    assert await site.vectors(document.dataset_id) == 1
    assert await _sync(site, document) == {"changed": False}


@pytest.mark.requirement(
    "Pause, resume, retry, duplicates",
    "a page that was edited is indexed anew, one that was not is left alone",
)
async def test_a_web_page_is_always_indexed_anew(site: Site, service: Service) -> None:
    """Its changes cannot be detected."""
    service.answer("POST /", {"data": {"content": "Soup."}})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="jinareader")
    await site.run(index_document, site.request(document))
    service.answer("POST /", {"data": {"content": "Stew."}})

    assert await _sync(site, document) == {"changed": True}
    (request,) = await site.published()
    await site.run(index_document, request)

    assert await _contents(site, document) == ["Stew."]


async def test_a_page_that_was_never_indexed_is(site: Site, service: Service) -> None:
    """After a failed indexing, the document is always indexed."""
    _notion(service, "2026-11-02T09:30:00.000Z", "Soup today.")
    info = {"notion_page_id": PAGE, "type": "page", "last_edited_time": "2026-11-02T09:30:00.000Z"}
    document = await _from(site, "notion_import", **info)
    async with site.transaction() as session:
        (await session.get_one(Document, document.id)).indexing_status = "error"
    assert await _sync(site, document) == {"changed": True}


@pytest.mark.requirement("Pause, resume, retry, duplicates", "a source in trouble leaves the document as it is")
async def test_a_source_that_cannot_be_asked_leaves_the_document(site: Site, service: Service) -> None:
    """The error is retried or permanent. As a dead letter, the document stays completed and searchable."""
    _notion(service, "2026-11-02T09:30:00.000Z", "Soup today.")
    document = await _from(site, "notion_import", notion_page_id=PAGE, type="page")
    await site.run(index_document, site.request(document))
    event = DocumentSyncRequested(tenant_id=site.tenant_id, dataset_id=document.dataset_id, document_id=document.id)
    for status, failure in ((429, Retry), (503, ServiceError), (404, Permanent)):
        service.answer(f"GET /v1/pages/{PAGE}", {}, status)
        with pytest.raises(failure, match=f"Notion answers {status}") as refused:
            await site.run(sync_document, event)
        await site.die(sync_document, event, refused.value)
    shown = await site.document(document.id)
    assert (shown.indexing_status, shown.error) == ("completed", None)
    assert await _contents(site, document) == ["Soup today."]


async def test_what_cannot_be_synchronised(site: Site, settings: Settings) -> None:
    """A file does not change. A deleted or paused document is not changed, and its key does not block for longer."""
    file = await site.add_document(await site.add_dataset(), b"text")
    with pytest.raises(Permanent, match="a file does not change"):
        await _sync(site, file)
    paused = await site.add_document(await site.add_dataset(), None, data_source_type="website_crawl", is_paused=True)
    key = f"document_{paused.id}_is_sync"
    with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        redis.set(key, "1")
        assert await _sync(site, paused) == {"skipped": "the document is paused"}
        assert redis.exists(key) == 0
        await site.delete(Document, id=paused.id)
        redis.set(key, "1")
        assert await _sync(site, paused) == {"skipped": "the document is gone"}
        assert redis.exists(key) == 0


@pytest.mark.requirement(
    "Pause, resume, retry, duplicates",
    "the platform's keys that block a retry go when it has ended",
)
async def test_the_platform_s_keys_go_when_the_work_has_ended(site: Site, service: Service, settings: Settings) -> None:
    """While `document_<id>_is_retried` or `_is_sync` exists, the API rejects further requests of a user."""
    service.answer("POST /", {"data": {"content": "Soup."}})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="jinareader")
    keys = [f"document_{document.id}_is_retried", f"document_{document.id}_is_sync"]
    with Redis.from_url(settings.redis_url.get_secret_value()) as redis:
        redis.mset(dict.fromkeys(keys, "1"))
        await _sync(site, document)
        assert redis.exists(*keys) == 2
        await site.run(index_document, site.request(document))
        assert redis.exists(*keys) == 0
        redis.mset(dict.fromkeys(keys, "1"))
        await site.die(index_document, site.request(document), RuntimeError("given up"))
        assert redis.exists(*keys) == 0


@pytest.mark.requirement(
    "Pause, resume, retry, duplicates",
    "the platform's keys that block a retry go when it has ended",
)
async def test_redis_may_be_away(database_url: str, tmp_path: Path) -> None:
    """The document is indexed, and the next one does not wait for Redis again."""
    async with open_site(database_url, tmp_path, redis_url="redis://127.0.0.1:1/0") as site:
        dataset = await site.add_dataset()
        for _ in range(2):
            document = await site.add_document(dataset, b"text")
            await site.run(index_document, site.request(document))
            assert (await site.document(document.id)).indexing_status == "completed"
