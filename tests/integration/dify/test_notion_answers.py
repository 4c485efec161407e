"""Notion answers 429, 500, garbage or nothing: the document is not changed, and a later attempt reads it."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from schemas import DocumentSyncRequested
from streams.agents.knowledge.document_indexing import index_document
from streams.agents.knowledge.document_sync import sync_document
from streams.delivery import Retry
from streams.dify.errors import ServiceError
from streams.dify.models import Document
from tests.support.fakes.http_service import NOTHING, SILENCE, Answer, HttpService, open_http_service
from tests.support.platform.handler_runs import Site, open_site

PAGE = str(uuid4())
PROPERTIES, BLOCKS = f"GET /v1/pages/{PAGE}", f"GET /v1/blocks/{PAGE}/children"
PARAGRAPH = {"type": "paragraph", "id": "x", "paragraph": {"rich_text": [{"plain_text": "Soup is hot."}]}}
PAGE_ANSWER = Answer({"last_edited_time": "2026-11-01T00:00:00Z"})
BLOCKS_ANSWER = Answer({"results": [PARAGRAPH], "has_more": False})
FAILURES: dict[str, tuple[Answer, type[Exception], str]] = {
    "429": (Answer({}, 429, {"Retry-After": "7"}), Retry, "Notion answers 429"),
    "500": (Answer({}, 500), ServiceError, "Notion answers 500"),
    "garbage": (Answer(b"\x00<html>"), ServiceError, "not a JSON object"),
    "a list": (Answer([1]), ServiceError, "not a JSON object"),
    "nothing": (NOTHING, ServiceError, "Notion does not answer"),
    "silence": (SILENCE, ServiceError, "Notion does not answer"),
}


@pytest.fixture
def notion() -> Iterator[HttpService]:
    with open_http_service() as service:
        service.answer(PROPERTIES, PAGE_ANSWER)
        service.answer(BLOCKS, BLOCKS_ANSWER)
        yield service


@pytest.fixture
async def site(database_url: str, tmp_path: Path, notion: HttpService) -> AsyncIterator[Site]:
    known = {"notion_url": notion.url, "notion_token": "t", "notion_tenants": "*", "source_request_timeout": 2}
    async with open_site(database_url, tmp_path, **known) as opened:
        yield opened


async def _add_page(site: Site) -> Document:
    info = json.dumps({"notion_page_id": PAGE, "type": "page"})
    dataset = await site.add_dataset()
    return await site.add_document(dataset, None, data_source_type="notion_import", data_source_info=info)


async def _contents(site: Site, document: Document) -> list[str]:
    return [segment.content for segment in await site.segments(document.id)]


@pytest.mark.requirement("The whole domain", "Notion that answers 429, 500, garbage or nothing is asked again")
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failing_notion_is_a_retry(site: Site, notion: HttpService, failure: str) -> None:
    """The indexing and the comparison of an indexed page. What is indexed stays until Notion answers."""
    answer, error, text = FAILURES[failure]
    document = await _add_page(site)
    notion.answer(BLOCKS, answer)
    with pytest.raises(error, match=text) as found:
        await site.run(index_document, site.request(document))
    assert not isinstance(found.value, Retry) or found.value.after == 7.0
    assert await _contents(site, document) == []
    notion.answer(BLOCKS, BLOCKS_ANSWER)
    await site.run(index_document, site.request(document))
    assert await _contents(site, document) == ["Soup is hot."]

    notion.answer(PROPERTIES, answer)
    event = DocumentSyncRequested(tenant_id=site.tenant_id, dataset_id=document.dataset_id, document_id=document.id)
    with pytest.raises(error, match=text):
        await site.run(sync_document, event)
    assert (await site.document(document.id)).indexing_status == "completed"
    notion.answer(PROPERTIES, PAGE_ANSWER)
    assert await site.run(sync_document, event) == {"changed": False}


@pytest.mark.requirement("The whole domain", "Notion that answers 429, 500, garbage or nothing is asked again")
async def test_half_a_page_is_no_page(site: Site, notion: HttpService) -> None:
    """The second part of the list is JSON of another kind. Half of the text must not be indexed as the whole."""
    document = await _add_page(site)
    parts = iter([Answer({"results": [PARAGRAPH], "has_more": True, "next_cursor": "2"}), Answer({"message": "later"})])
    notion.answer(BLOCKS, lambda _: next(parts))
    with pytest.raises(ServiceError, match="Notion answers without a list of results"):
        await site.run(index_document, site.request(document))
    assert await _contents(site, document) == []
