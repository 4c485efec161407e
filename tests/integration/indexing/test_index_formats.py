"""Documents of each source and format through the handlers: indexed, found, cleaned up, or rejected with a reason."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from streams.agents.knowledge.dataset_cleanup import clean_dataset
from streams.agents.knowledge.document_indexing import clean_document, index_document
from streams.delivery import Permanent, ProcessorTimeExceededError, Retry
from streams.dify.errors import ServiceError
from streams.dify.models import Dataset, DataSourceOauthBinding, Document, UploadFile
from streams.dify.sources import watercrawl
from tests.support.fakes.source_server import Service, open_service
from tests.support.platform.document_files import MAIL, epub, linked_images, pdf, png, slides, word, xls, xlsx
from tests.support.platform.handler_runs import CrashError, DirectWork, Site, open_site, storage_folder

PAGE, BLOCK, ROWS = (str(uuid4()) for _ in range(3))
EDITED = "2026-11-02T09:30:00.000Z"


@pytest.fixture
def service() -> Iterator[Service]:
    with open_service() as opened:
        opened.answer(f"GET /v1/pages/{PAGE}", {"last_edited_time": EDITED})
        opened.answer(f"GET /v1/databases/{ROWS}", {"last_edited_time": EDITED})
        yield opened


@pytest.fixture
async def site(database_url: str, tmp_path: Path, service: Service) -> AsyncIterator[Site]:
    addresses: dict[str, object] = {
        "notion_url": service.url,
        "jina_url": service.url,
        "firecrawl_url": service.url,
        "watercrawl_url": service.url,
    }
    secrets = {"notion_token": "notion-token", "firecrawl_key": "fire-key", "watercrawl_key": "water-key"}
    async with open_site(database_url, tmp_path, **addresses, **secrets, notion_tenants="*") as opened:
        yield opened


async def _content(site: Site, document: Document) -> str:
    return "\n".join(segment.content for segment in await site.segments(document.id))


@pytest.mark.requirement("Extraction", "each format gives its text")
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pdf", pdf("The kettle is new."), "The kettle is new."),
        ("a.docx", word(), "Everyone has thirty days."),
        ("a.csv", b"City,Days\nOslo,2\n", "City: Oslo;Days: 2"),
        ("a.xlsx", xlsx(("City", "Days"), ("Oslo", 2)), 'City":"Oslo";"Days":"2"'),
        ("a.xls", xls(("City", "Days"), ("Oslo", "two")), 'City":"Oslo";"Days":"two"'),
        ("a.epub", epub(), "First chapter"),
        ("a.pptx", slides("Travel", "Speak slowly"), "Speak slowly"),
        ("a.eml", MAIL, "The kettle is new."),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("a.") else "",
)
async def test_each_format_is_indexed(site: Site, name: str, content: bytes, words: str) -> None:
    """Its words are in the segments, which start without punctuation as on the platform, and have vectors."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, content, name=name)

    await site.run(index_document, site.request(document))

    assert words in await _content(site, document)
    assert (await site.document(document.id)).indexing_status == "completed"
    assert await site.vectors(dataset.id) == len(await site.segments(document.id)) > 0


@pytest.mark.requirement("Extraction", "each vector knows the page, row or section of its text")
async def test_each_row_of_a_table_is_a_segment(site: Site) -> None:
    """The automatic rule joins short texts, but not two rows. Their vectors know the row of the sheet."""
    rows = "".join(f"What is {number}?,It is {number * number}.\n" for number in range(1, 7))
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, f"question,answer\n{rows}".encode(), name="faq.csv")

    await site.run(index_document, site.request(document))

    found = [(segment.position, segment.content) for segment in await site.segments(document.id)]
    assert found == [(n, f"question: What is {n}?;answer: It is {n * n}.") for n in range(1, 7)]
    async with site.transaction() as session:
        table = f"embedding_vector_index_{dataset.id.replace('-', '_')}_node"[:63]
        numbers = await session.scalars(text(f"select meta->'row' from {table} order by text"))
        assert list(numbers) == [2, 3, 4, 5, 6, 7]


@pytest.mark.requirement(
    "Extraction",
    "encrypted, damaged, empty, of another type: a reason, which the document shows",
)
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.pdf", pdf("Secret", password="secret"), "the PDF is encrypted: save it without a password"),
        ("a.docx", b"nonsense", "the file is damaged or of another type: File is not a zip file"),
        ("a.xlsx", b"", "the file is empty"),
    ],
)
async def test_what_cannot_be_read_is_refused_in_the_document_s_words(
    site: Site, name: str, content: bytes, reason: str
) -> None:
    """Permanent, and the document shows the same message."""
    document = await site.add_document(await site.add_dataset(), content, name=name)

    with pytest.raises(Permanent) as refused:
        await site.run(index_document, site.request(document))
    await site.die(index_document, site.request(document), refused.value)

    assert str(refused.value) == reason
    failed = await site.document(document.id)
    assert (failed.indexing_status, failed.error) == ("error", reason)


@pytest.mark.requirement("Extraction", "images are stored, and go with their document")
async def test_images_of_a_word_file_are_stored_and_go_with_it(site: Site) -> None:
    """Rows and files have the ids that the segments link to. A repetition creates none. Clean-up leaves nothing."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, word(pictures=(png(1), png(2), png(1))), name="a.docx")

    await site.run(index_document, site.request(document))

    linked = linked_images(await _content(site, document))
    assert len(linked) == 2
    for file_id in linked:
        async with site.transaction() as session:
            row = await session.get_one(UploadFile, file_id)
        assert row.key == f"image_files/{site.tenant_id}/{file_id}.png"
        assert await site.platform.storage.read(row.key) in {png(1), png(2)}
    assert await site.count(UploadFile, tenant_id=site.tenant_id) == 3
    await site.delete(Document, id=document.id)

    result = await site.run(clean_document, site.document_deleted(document))

    assert result == {"done": True, "removed": {"document_segments": 1, "vectors": 1, "images": 2}}
    assert await site.count(UploadFile, tenant_id=site.tenant_id, extension="png") == 0
    assert _images(site) == []


@pytest.mark.requirement("Extraction", "links to images begin with the platform's FILES_URL")
async def test_links_to_images_begin_with_the_files_url(database_url: str, tmp_path: Path) -> None:
    """Only the document's own images. A text that looks like a link stays."""
    foreign = f"![image](/files/{uuid4()}/file-preview)"
    content = word(pictures=(png(1), png(2)))
    async with open_site(database_url, tmp_path, files_url="https://files.example.org/") as site:
        document = await site.add_document(await site.add_dataset(), content, name="a.docx")
        await site.run(index_document, site.request(document))
        text = await _content(site, document)
        linked = linked_images(text)
        assert len(linked) == 2
        for file_id in linked:
            assert f"![image](https://files.example.org/files/{file_id}/file-preview)" in text
        plain = await site.add_document(await site.add_dataset(), b"See " + foreign.encode(), name="a.txt")
        await site.run(index_document, site.request(plain))
        assert await _content(site, plain) == f"See {foreign}"


@pytest.mark.requirement("Clean, rules, split, forms", "the largest piece is a setting, as on the platform")
async def test_a_rule_may_ask_for_pieces_of_the_set_length(database_url: str, tmp_path: Path) -> None:
    """Of one text, by one rule: refused with the default, one segment with the setting."""
    rules = {"segmentation": {"separator": "#", "max_tokens": 8000}}
    text = b"word " * 1500
    async with open_site(database_url, tmp_path) as site:
        document = await site.add_document(await site.add_dataset(), text, mode="custom", rules=rules)
        with pytest.raises(Permanent, match="max_tokens is 8000; it must be from 50 to 4000"):
            await site.run(index_document, site.request(document))
    async with open_site(database_url, tmp_path, indexing_max_segmentation_tokens_length=8000) as site:
        document = await site.add_document(await site.add_dataset(), text, mode="custom", rules=rules)
        await site.run(index_document, site.request(document))
        assert len(await site.segments(document.id)) == 1


def _images(site: Site) -> list[Path]:
    folder = storage_folder(site)
    return [path for path in (folder / "image_files").rglob("*") if path.is_file()]


@pytest.mark.requirement("Extraction", "images are stored, and go with their document")
@pytest.mark.parametrize("crash_after", [2, 3])
@pytest.mark.parametrize("whole_dataset", [False, True])
async def test_images_go_though_no_segment_links_to_them(site: Site, crash_after: int, *, whole_dataset: bool) -> None:
    """The worker died after the rows (2) or the files (3) of the images were written. Then the document was deleted."""
    dataset = await site.add_dataset()
    document = await site.add_document(dataset, word(pictures=(png(1),)), name="a.docx")

    async def crash(step: int) -> None:
        if step == crash_after:
            raise CrashError

    with pytest.raises(CrashError):
        await site.run(index_document, site.request(document), after_step=crash)
    assert await site.count(UploadFile, extension="png", tenant_id=site.tenant_id) == 1
    assert len(_images(site)) == crash_after - 2
    if whole_dataset:
        await site.delete(Dataset, id=dataset.id)
        await site.run(clean_dataset, site.dataset_deleted(dataset))
    else:
        await site.delete(Document, id=document.id)
        await site.run(clean_document, site.document_deleted(document))

    assert await site.count(UploadFile, extension="png", tenant_id=site.tenant_id) == 0
    assert _images(site) == []


async def _from(site: Site, kind: str, **info: object) -> Document:
    dataset = await site.add_dataset()
    return await site.add_document(dataset, None, data_source_type=kind, data_source_info=json.dumps(info))


def _block(kind: str, text: str, block_id: str = "x", **more: object) -> dict[str, object]:
    return {"type": kind, "id": block_id, kind: {"rich_text": [{"plain_text": text}]}, **more}


@pytest.mark.requirement("Extraction", "Notion pages and databases")
async def test_a_notion_page_is_read_with_its_nested_blocks(site: Site, service: Service) -> None:
    """In order, over two pages of the list, with the integration's token."""
    path = f"GET /v1/blocks/{PAGE}/children"
    first = [_block("heading_1", "Leave"), _block("toggle", "Who", BLOCK, has_children=True)]
    service.answer(path, {"results": first, "has_more": True, "next_cursor": "c"})
    service.answer(f"{path} more", {"results": [_block("paragraph", "That is all.")], "has_more": False})
    service.answer(f"GET /v1/blocks/{BLOCK}/children", {"results": [_block("paragraph", "Everyone.")]})
    document = await _from(site, "notion_import", notion_page_id=PAGE, type="page", notion_workspace_id="w")

    await site.run(index_document, site.request(document))

    assert await _content(site, document) == "Leave\nWho\n Everyone.\nThat is all."
    assert {token for _, token in service.requests} == {"Bearer notion-token"}
    info = json.loads((await site.document(document.id)).data_source_info or "")
    assert info["last_edited_time"] == EDITED


@pytest.mark.requirement("Extraction", "the token of a Notion page's workspace")
async def test_a_workspace_s_own_token_is_used(site: Site, service: Service) -> None:
    """The token of the page's workspace: not another tenant's, and not a disabled one."""
    service.answer(f"GET /v1/blocks/{PAGE}/children", {"results": [_block("paragraph", "Hello.")]})
    for tenant, workspace, token, disabled in (
        (site.tenant_id, "w", "right", False),
        (site.tenant_id, "w", "disabled", True),
        (site.tenant_id, "other", "other", False),
        (str(uuid4()), "w", "another tenant's", False),
    ):
        await site.add(
            DataSourceOauthBinding(
                tenant_id=tenant,
                access_token=token,
                provider="notion",
                source_info={"workspace_id": workspace},
                disabled=disabled,
            )
        )
    document = await _from(site, "notion_import", notion_page_id=PAGE, type="page", notion_workspace_id="w")
    await site.run(index_document, site.request(document))
    assert {token for _, token in service.requests} == {"Bearer right"}


@pytest.mark.requirement(
    "Faults of others", "L13: the deployment's Notion token is only for the tenants that are named"
)
@pytest.mark.parametrize("named", [True, False])
async def test_the_deployment_s_token_is_for_named_tenants(
    database_url: str, tmp_path: Path, service: Service, *, named: bool
) -> None:
    """A tenant that is not named, and names a workspace that it has not connected, reads nothing."""
    service.answer(f"GET /v1/blocks/{PAGE}/children", {"results": [_block("paragraph", "Hello.")]})
    async with open_site(database_url, tmp_path, notion_url=service.url, notion_token="t") as opened:
        tenants = frozenset({opened.tenant_id} if named else {str(uuid4())})
        sources = opened.platform.sources
        sources = replace(sources, notion=replace(sources.notion, tenants=tenants))
        site = replace(opened, platform=replace(opened.platform, sources=sources))
        document = await _from(site, "notion_import", notion_page_id=PAGE, type="page", notion_workspace_id="w")
        if named:
            await site.run(index_document, site.request(document))
            return
        with pytest.raises(Permanent, match="Notion is not configured for this tenant"):
            await site.run(index_document, site.request(document))
        assert service.requests == []


@pytest.mark.requirement("Extraction", "Notion pages and databases")
async def test_a_notion_database_is_its_rows(site: Site, service: Service) -> None:
    row = {
        "properties": {
            "Name": {"type": "title", "title": [{"plain_text": "Oslo"}]},
            "Days": {"type": "number", "number": 2},
            "Kind": {"type": "select", "select": {"name": "city"}},
            "Empty": {"type": "rich_text", "rich_text": []},
        }
    }
    service.answer(f"POST /v1/databases/{ROWS}/query", {"results": [row], "has_more": False})
    document = await _from(site, "notion_import", notion_page_id=ROWS, type="database")

    await site.run(index_document, site.request(document))

    assert await _content(site, document) == "Name: Oslo;Days: 2;Kind: city"


@pytest.mark.requirement("Extraction", "web pages")
async def test_a_web_page_is_read_by_jina(site: Site, service: Service) -> None:
    service.answer("POST /", {"data": {"content": "# Lunch\n\nSoup."}})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="jinareader")

    await site.run(index_document, site.request(document))

    assert "Soup." in await _content(site, document)
    assert [request for request, _ in service.requests] == ["POST /"]


@pytest.mark.requirement("Extraction", "web pages")
async def test_a_crawled_page_is_found_among_its_job_s(site: Site, service: Service) -> None:
    """On the second page of the job's result."""
    further = f"{service.url}/v1/crawl/job-1?skip=1"
    other = {"markdown": "Other.", "metadata": {"sourceURL": "https://example.org/b"}}
    wanted = {"markdown": "Soup is hot.", "metadata": {"sourceURL": "https://example.org/a"}}
    service.answer("GET /v1/crawl/job-1", {"status": "completed", "data": [other], "next": further})
    service.answer("GET /v1/crawl/job-1?skip=1", {"status": "completed", "data": [wanted]})
    document = await _from(
        site, "website_crawl", url="https://example.org/a", provider="firecrawl", job_id="job-1", mode="crawl"
    )

    await site.run(index_document, site.request(document))

    assert await _content(site, document) == "Soup is hot."
    assert [token for _, token in service.requests] == ["Bearer fire-key"] * 2


@pytest.mark.requirement("Extraction", "web pages")
async def test_a_page_that_watercrawl_has_found(site: Site, service: Service) -> None:
    """On the second page of the crawl's results, as a file whose signed URL is read without the key."""
    crawl = "/api/v1/core/crawl-requests/job-1/results/"
    other = {"url": "https://example.org/b", "result": {"markdown": "Other."}}
    wanted = {"url": "https://example.org/a", "result": f"{service.url}/media/a.json"}
    service.answer(f"GET {crawl}?page=1&page_size=100", {"results": [other], "next": "more"})
    service.answer(f"GET {crawl}?page=2&page_size=100", {"results": [wanted], "next": None})
    service.answer("GET /media/a.json", {"markdown": "Soup is hot."})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="watercrawl", job_id="job-1")

    await site.run(index_document, site.request(document))

    assert await _content(site, document) == "Soup is hot."
    assert [key for _, key in service.requests] == ["water-key", "water-key", None]


@pytest.mark.requirement("Extraction", "web pages")
async def test_watercrawl_crawls_a_page_now(site: Site, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no job. A crawl of the page is started and waited for. If it fails, there is no page."""
    monkeypatch.setattr(watercrawl, "_POLL_SECONDS", 0.01)
    requests = "/api/v1/core/crawl-requests/"
    page = {"url": "https://example.org/a", "result": {"markdown": "Soup is hot."}}
    service.answer(f"POST {requests}", {"uuid": "c-1"})
    service.answer(f"GET {requests}c-1/", {"status": "finished"})
    service.answer(f"GET {requests}c-1/results/?page=1&page_size=100", {"results": [page], "next": None})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="watercrawl", mode="scrape")
    await site.run(index_document, site.request(document))
    assert await _content(site, document) == "Soup is hot."

    service.answer(f"GET {requests}c-1/", {"status": "failed"})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="watercrawl", mode="scrape")
    with pytest.raises(Permanent, match="has failed at Watercrawl"):
        await site.run(index_document, site.request(document))


@pytest.mark.requirement("Extraction", "web pages")
async def test_a_page_without_a_job_is_scraped(site: Site, service: Service) -> None:
    service.answer("POST /v1/scrape", {"data": {"markdown": "Soup is hot."}})
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="firecrawl", mode="scrape")
    await site.run(index_document, site.request(document))
    assert await _content(site, document) == "Soup is hot."


@pytest.mark.requirement("Extraction", "429, 4xx, 5xx of a source")
async def test_a_service_that_wants_patience_gets_it(site: Site, service: Service) -> None:
    """429: a retry after the time of Retry-After."""
    service.answer(f"GET /v1/blocks/{PAGE}/children", {}, 429, Retry_After="7")
    document = await _from(site, "notion_import", notion_page_id=PAGE, type="page")
    with pytest.raises(Retry, match="Notion answers 429") as asked:
        await site.run(index_document, site.request(document))
    assert asked.value.after == 7.0


@pytest.mark.requirement("Extraction", "429, 4xx, 5xx of a source")
async def test_a_service_s_other_refusals_are_for_good(site: Site, service: Service) -> None:
    """The message says what the status means. What the service has written is only logged."""
    service.answer(f"GET /v1/blocks/{PAGE}/children", {"message": "secret of the service"}, 403)
    document = await _from(site, "notion_import", notion_page_id=PAGE, type="page")
    with pytest.raises(
        Permanent, match="Notion answers 403: access is not allowed, or the page is not shared"
    ) as refused:
        await site.run(index_document, site.request(document))
    assert "secret of the service" not in str(refused.value)


@pytest.mark.requirement("Extraction", "429, 4xx, 5xx of a source")
async def test_a_service_in_trouble_is_asked_again(site: Site, service: Service) -> None:
    """5xx, then an unavailable server: neither Permanent nor a retry at a certain time."""
    service.answer("POST /", {}, 503)
    document = await _from(site, "website_crawl", url="https://example.org/a", provider="jinareader")
    with pytest.raises(ServiceError, match="Jina answers 503"):
        await site.run(index_document, site.request(document))


@pytest.mark.parametrize(
    ("kind", "info", "reason"),
    [
        ("notion_import", {}, "names no Notion page"),
        ("notion_import", {"notion_page_id": "../users"}, "is not a UUID"),
        ("website_crawl", {"url": "file:///etc/passwd", "provider": "jinareader"}, "not the address of a web page"),
        ("website_crawl", {"url": "https://a.org", "provider": "spider"}, "'spider' is not configured"),
        ("website_crawl", {"url": "https://a.org", "provider": "firecrawl", "job_id": ".."}, "job id '..' is not one"),
        ("website_crawl", {"url": "http://169.254.169.254/", "provider": "jinareader"}, "is a private address"),
    ],
)
async def test_a_source_that_names_nothing_is_refused(
    site: Site, kind: str, info: dict[str, object], reason: str
) -> None:
    document = await _from(site, kind, **info)
    with pytest.raises(Permanent, match=reason):
        await site.run(index_document, site.request(document))


@pytest.mark.requirement("Faults of others", "H4: reading a file has a limit of processor time, by its size")
async def test_a_file_that_takes_too_long_is_refused_for_good(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry would need as much. The document shows the reason."""
    limits = []

    async def killed(_: DirectWork, processor_seconds: float, *__: object) -> None:
        limits.append(processor_seconds)
        raise ProcessorTimeExceededError

    monkeypatch.setattr(DirectWork, "compute_within", killed)
    document = await site.add_document(await site.add_dataset(), b"x" * (2 << 20), name="a.txt")
    with pytest.raises(Permanent, match="the file needs more than 80 s of processor time"):
        await site.run(index_document, site.request(document))
    assert limits == [80.0]


@pytest.mark.requirement("Extraction", "a document is completed with a warning that the ledger shows")
async def test_a_file_that_is_not_read_whole_is_completed_with_a_warning(site: Site) -> None:
    """The second page of the PDF does not exist. The first one is indexed, and the warning is the execution's."""
    dataset = await site.add_dataset()
    damaged = pdf("Everyone has thirty days of leave.", "Second page").replace(b"4 0 R 6 0 R", b"4 0 R 77 0 R")
    document = await site.add_document(dataset, damaged, name="leave.pdf")
    work = DirectWork(site)

    assert await index_document.function(site.request(document), work) == {"segments": 1, "tokens": 8}

    assert (await site.document(document.id)).indexing_status == "completed"
    assert work.warnings == ("page 2 cannot be read: the PDF is damaged there",)
