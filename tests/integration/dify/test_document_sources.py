"""Crawled pages and Notion pages by what the platform writes of them: modes, copies of crawls, tenants' credentials."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from streams.agents.knowledge.document_indexing import index_document
from streams.delivery import Permanent
from streams.dify.models import DatasourceProvider, Document
from tests.support.fakes.http_service import Answer, HttpService, open_http_service
from tests.support.platform.handler_runs import Site, open_site
from tests.support.traces.tenant_key import ENCRYPTED_SECRET_KEY, PRIVATE_KEY, SECRET_KEY_OF_LANGFUSE

SECTION = "Extraction"
PAGE = "https://example.org/a"
NOTION_PAGE = str(uuid4())
PLUGINS = {
    "firecrawl": ("langgenius/firecrawl_datasource", "firecrawl", "firecrawl_api_key"),
    "jinareader": ("langgenius/jina_datasource", "jinareader", "api_key"),
    "notion": ("langgenius/notion_datasource", "notion_datasource", "integration_secret"),
    "watercrawl": ("langgenius/watercrawl_datasource", "watercrawl", "api_key"),
}


@pytest.fixture
def service() -> Iterator[HttpService]:
    with open_http_service() as opened:
        yield opened


@pytest.fixture
async def site(database_url: str, tmp_path: Path, service: HttpService) -> AsyncIterator[Site]:
    urls = dict.fromkeys(("notion_url", "jina_url", "firecrawl_url", "watercrawl_url"), service.url)
    keys = {"firecrawl_key": "fire-key", "watercrawl_key": "water-key", "jina_key": "jina-key"}
    async with open_site(database_url, tmp_path, **urls, **keys) as opened:
        await opened.platform.storage.write(f"privkeys/{opened.tenant_id}/private.pem", PRIVATE_KEY.encode())
        yield opened


async def _crawled(site: Site, **info: object) -> Document:
    known = {"url": PAGE, "provider": "firecrawl", "job_id": "job-1", "mode": "crawl", "only_main_content": False}
    return await _from(site, "website_crawl", {**known, **info})


async def _from(site: Site, kind: str, info: dict[str, object]) -> Document:
    dataset = await site.add_dataset()
    return await site.add_document(dataset, None, data_source_type=kind, data_source_info=json.dumps(info))


async def _indexed(site: Site, document: Document) -> list[str]:
    await site.run(index_document, site.request(document))
    return [segment.content for segment in await site.segments(document.id)]


async def _refused(site: Site, document: Document) -> str:
    with pytest.raises(Permanent) as refused:
        await site.run(index_document, site.request(document))
    await site.die(index_document, site.request(document), refused.value)
    return (await site.document(document.id)).error or ""


async def _add_credential(site: Site, source: str, **more: object) -> str:
    plugin_id, provider, secret = PLUGINS[source]
    known: dict[str, object] = {
        "id": str(uuid4()),
        "tenant_id": site.tenant_id,
        "name": f"key {uuid4()}",
        "provider": provider,
        "plugin_id": plugin_id,
        "auth_type": "api-key",
        "encrypted_credentials": {secret: ENCRYPTED_SECRET_KEY},
    }
    row = DatasourceProvider(**{**known, **more})
    await site.add(row)
    return str({**known, **more}["id"])


def _crawl_results(service: HttpService) -> None:
    old = {"markdown": "The price is 10.", "metadata": {"sourceURL": PAGE}}
    service.answer("GET /v1/crawl/job-1", Answer({"status": "completed", "data": [old]}))
    service.answer("POST /v1/scrape", Answer({"data": {"markdown": "The price is 99."}}))


@pytest.mark.requirement(SECTION, "a synchronised web page is read as it is now, whatever crawl it names")
@pytest.mark.parametrize("main", [True, False])
async def test_a_synchronised_page_is_scraped(site: Site, service: HttpService, *, main: bool) -> None:
    """The platform writes the mode `scrape` and leaves the id of the old crawl. Its copy is not used either."""
    _crawl_results(service)
    copy = json.dumps([{"source_url": PAGE, "markdown": "The price is 10."}])
    await site.platform.storage.write("website_files/job-1.txt", copy.encode())
    document = await _crawled(site, mode="scrape", only_main_content=main)

    assert await _indexed(site, document) == ["The price is 99."]
    (request,) = service.requests
    assert request.body == {"url": PAGE, "formats": ["markdown"], "onlyMainContent": main}


@pytest.mark.requirement(SECTION, "a synchronised web page is read as it is now, whatever crawl it names")
async def test_watercrawl_crawls_a_synchronised_page_anew(site: Site, service: HttpService) -> None:
    """With the main content only, or the whole page, as the document says."""
    path = "/api/v1/core/crawl-requests/"
    service.answer(f"POST {path}", Answer({"uuid": "job-2"}))
    service.answer(f"GET {path}job-2/", Answer({"status": "finished"}))
    found = {"url": PAGE, "result": {"markdown": "The price is 99."}}
    service.answer(f"GET {path}job-2/results/", Answer({"results": [found], "next": None}))

    assert await _indexed(site, await _crawled(site, provider="watercrawl", mode="scrape")) == ["The price is 99."]
    (body,) = service.bodies(f"POST {path}")
    assert isinstance(body, dict)
    assert body["options"]["page_options"]["only_main_content"] is False


@pytest.mark.requirement(SECTION, "a crawled page comes from the platform's copy of the crawl")
@pytest.mark.parametrize("provider", ["firecrawl", "watercrawl"])
async def test_a_crawled_page_comes_from_the_platform_s_copy(site: Site, service: HttpService, provider: str) -> None:
    """The provider has forgotten the crawl, and is not asked."""
    pages = [{"source_url": "https://example.org/b", "markdown": "Other."}, {"source_url": PAGE, "markdown": "Soup."}]
    await site.platform.storage.write("website_files/job-1.txt", json.dumps(pages).encode())
    assert await _indexed(site, await _crawled(site, provider=provider)) == ["Soup."]
    assert service.requests == []
    error = await _refused(site, await _crawled(site, provider=provider, url="https://example.org/c"))
    assert error == "the crawl job-1 has not found https://example.org/c"


@pytest.mark.requirement(SECTION, "a crawled page comes from the platform's copy of the crawl")
@pytest.mark.parametrize("copy", [None, b"\xff", b"[" * 200_000, b'{"a": 1}'], ids=["none", "bytes", "deep", "object"])
async def test_without_a_copy_the_provider_is_asked(site: Site, service: HttpService, copy: bytes | None) -> None:
    _crawl_results(service)
    if copy is not None:
        await site.platform.storage.write("website_files/job-1.txt", copy)
    assert await _indexed(site, await _crawled(site)) == ["The price is 10."]


TENANT_KEYS = "a tenant's own credentials for Notion and crawlers are decrypted and used"


@pytest.mark.requirement(SECTION, TENANT_KEYS)
async def test_the_tenant_s_own_key_comes_before_the_deployment_s(site: Site, service: HttpService) -> None:
    """The default one, else the oldest. Another tenant's is not used."""
    _crawl_results(service)
    await _add_credential(site, "firecrawl", tenant_id=str(uuid4()), is_default=True)
    assert await _indexed(site, await _crawled(site)) == ["The price is 10."]
    await _add_credential(site, "firecrawl", encrypted_credentials={"firecrawl_api_key": "not the default"})
    await _add_credential(site, "firecrawl", is_default=True)
    await _indexed(site, await _crawled(site))
    keys = [request.headers["authorization"] for request in service.requests]
    assert keys == ["Bearer fire-key", f"Bearer {SECRET_KEY_OF_LANGFUSE}"]


@pytest.mark.requirement(SECTION, TENANT_KEYS)
async def test_each_crawler_gets_the_tenant_s_key(site: Site, service: HttpService) -> None:
    for source in ("watercrawl", "jinareader"):
        await _add_credential(site, source)
    service.answer("POST /", Answer({"data": {"content": "Soup."}}))
    found = {"url": PAGE, "result": {"markdown": "Stew."}}
    service.answer("GET /api/v1/core/crawl-requests/job-1/results/", Answer({"results": [found], "next": None}))
    assert await _indexed(site, await _crawled(site, provider="jinareader", job_id=None)) == ["Soup."]
    assert await _indexed(site, await _crawled(site, provider="watercrawl")) == ["Stew."]
    first, second = service.requests
    assert first.headers["authorization"] == f"Bearer {SECRET_KEY_OF_LANGFUSE}"
    assert second.headers["x-api-key"] == SECRET_KEY_OF_LANGFUSE


@pytest.mark.requirement(SECTION, TENANT_KEYS)
async def test_the_tenant_s_own_server_is_asked(site: Site, service: HttpService) -> None:
    """Only at an address that others may see, unless the setting allows private ones."""
    with open_http_service() as own:
        _crawl_results(own)
        values = {"firecrawl_api_key": ENCRYPTED_SECRET_KEY, "base_url": own.url}
        await _add_credential(site, "firecrawl", encrypted_credentials=values)
        error = await _refused(site, await _crawled(site))
        assert error.startswith("the tenant's own firecrawl is at a private address; STREAMS_SOURCE_PRIVATE_ADDRESSES")
        sources = replace(site.platform.sources, private_addresses=True)
        open_to_private = replace(site, platform=replace(site.platform, sources=sources))
        assert await _indexed(open_to_private, await _crawled(site)) == ["The price is 10."]
        assert len(own.requests) == 1
    assert service.requests == []


def _notion(service: HttpService) -> None:
    block = {"type": "paragraph", "id": "x", "paragraph": {"rich_text": [{"plain_text": "Hello."}]}}
    service.answer(f"GET /v1/pages/{NOTION_PAGE}", Answer({"last_edited_time": "2026-11-02T09:30:00.000Z"}))
    service.answer(f"GET /v1/blocks/{NOTION_PAGE}/children", Answer({"results": [block]}))


async def _notion_document(site: Site, credential_id: str | None) -> Document:
    info: dict[str, object] = {
        "notion_page_id": NOTION_PAGE,
        "type": "page",
        "notion_workspace_id": "w",
        "credential_id": credential_id,
    }
    return await _from(site, "notion_import", info)


@pytest.mark.requirement(SECTION, TENANT_KEYS)
async def test_a_notion_page_is_read_with_the_credential_that_it_names(site: Site, service: HttpService) -> None:
    _notion(service)
    document = await _notion_document(site, await _add_credential(site, "notion"))
    assert await _indexed(site, document) == ["Hello."]
    assert {request.headers["authorization"] for request in service.requests} == {f"Bearer {SECRET_KEY_OF_LANGFUSE}"}


@pytest.mark.requirement(SECTION, "a credential that cannot be used is named in the document's error")
async def test_a_credential_that_cannot_be_used_is_named(site: Site, service: HttpService) -> None:
    """Missing, another tenant's, expired, without its secret, or encrypted with a key that is not there."""
    _notion(service)
    missing = str(uuid4())
    foreign = await _add_credential(site, "notion", tenant_id=str(uuid4()))
    for credential_id in (missing, foreign):
        error = await _refused(site, await _notion_document(site, credential_id))
        assert error == f"the credential {credential_id} of notion does not exist: connect Notion again"
    expired = await _add_credential(site, "notion", expires_at=int(time.time()) - 60)
    error = await _refused(site, await _notion_document(site, expired))
    assert error == (
        f"the credential {expired} of notion has expired, and only the platform can renew it: connect the source there "
        "again"
    )
    other = await _add_credential(site, "firecrawl")
    error = await _refused(site, await _notion_document(site, other))
    assert error.startswith(f"the credential {other} of notion has no integration_secret")
    await site.platform.storage.delete(f"privkeys/{site.tenant_id}/private.pem")
    sealed = await _add_credential(site, "notion")
    error = await _refused(site, await _notion_document(site, sealed))
    assert error.startswith(f"the credential {sealed} of notion cannot be used: the storage has no privkeys/")
    error = await _refused(site, await _notion_document(site, "not an id"))
    assert error == "credential_id 'not an id' is not a UUID"
    assert service.requests == []
