"""Services that answer with other things than pages cannot lead the pipeline elsewhere, or take its memory."""

import asyncio

import pytest

from streams.dify.errors import ExtractionError, RefusedError, ServiceError
from streams.dify.http import Service as RemoteService
from streams.dify.http import Timeouts, fetch
from streams.dify.sources.notion import Notion
from streams.dify.sources.reference import NotionPage, WebPage
from streams.dify.sources.watercrawl import Watercrawl
from streams.dify.sources.website import Firecrawl, JinaReader
from tests.support.fakes.source_server import open_service

FAULT = "Faults of others"
PAGE = "0189b3f2-3d5a-7b8e-9a44-6f0b8c2d1e37"


@pytest.mark.requirement(FAULT, "M12: the address of a page does not change what is asked of a reader")
async def test_dots_in_an_address_do_not_leave_the_reader_s_path() -> None:
    """Jina gets the address in the body."""
    with open_service() as service:
        service.answer("POST /", {"data": {"content": "Soup."}})
        page = WebPage("http://x.org/../../../admin?a=b#c", "jinareader", None)
        assert await JinaReader(service.url, "key").text(page) == "Soup."
        assert service.requests == [("POST /", "Bearer key")]


@pytest.mark.requirement(FAULT, "M12: a service cannot lead the pipeline to another address")
@pytest.mark.parametrize("path", ["/../../../admin", "extra", "/x?a", "%2f..?skip=1"])
async def test_firecrawl_s_next_page_is_one_of_the_same_job(path: str) -> None:
    """Any other address is not asked: the key would go there."""
    with open_service() as service:
        job = "/v1/crawl/job-1"
        service.answer(f"GET {job}", {"status": "completed", "data": [], "next": f"{service.url}{job}{path}"})
        with pytest.raises(ExtractionError, match="has not found"):
            await Firecrawl(service.url, "key").text(WebPage("https://example.org/a", "firecrawl", "job-1"))
        assert [request for request, _ in service.requests] == [f"GET {job}"]


@pytest.mark.requirement(FAULT, "M12: a service cannot lead the pipeline to another address")
async def test_watercrawl_s_result_is_not_fetched_from_a_private_address() -> None:
    """Unless it is at Watercrawl's own address, or the setting allows it."""
    with open_service() as service, open_service() as other:
        page = WebPage("https://example.org/a", "watercrawl", "job-1")
        found = {"url": page.url, "result": f"{other.url}/a.json"}
        results = "GET /api/v1/core/crawl-requests/job-1/results/?page=1&page_size=100"
        service.answer(results, {"results": [found], "next": None})
        other.answer("GET /a.json", {"markdown": "Soup."})
        with pytest.raises(RefusedError, match="private address"):
            await Watercrawl(service.url, "key").text(page)
        assert not other.requests
        assert await Watercrawl(service.url, "key", private_addresses=True).text(page) == "Soup."


@pytest.mark.requirement(FAULT, "M12: ids are one name of a path")
async def test_ids_of_services_are_one_name_of_a_path() -> None:
    """A crawl with the id `..`, and a nested block with a path as its id, are not asked for."""
    with open_service() as service:
        service.answer("POST /api/v1/core/crawl-requests/", {"uuid": ".."})
        with pytest.raises(ServiceError, match="no id"):
            await Watercrawl(service.url, "key").text(WebPage("https://example.org/a", "watercrawl", None))
        block = {"type": "paragraph", "id": "../../users", "has_children": True}
        service.answer(f"GET /v1/blocks/{PAGE}/children", {"results": [block]})
        with pytest.raises(ExtractionError, match="id is not one"):
            await Notion(service.url, None).text(NotionPage(PAGE, "page", token="secret"))
        assert len(service.requests) == 2


@pytest.mark.requirement(FAULT, "M12: answers are bounded, also after they are unpacked")
async def test_deep_json_is_refused_for_good() -> None:
    """The next answer would be as deep."""
    body = b"[" * 200_000

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ExtractionError, match="nested too deeply"):
            await fetch(RemoteService("Notion", {}, Timeouts()), "GET", f"http://127.0.0.1:{port}/")


@pytest.mark.requirement(FAULT, "M12: a document shows neither hosts nor answers of services")
async def test_messages_have_neither_hosts_nor_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """The log has them, for the operator."""
    with open_service() as service:
        service.answer("GET /secret", {"detail": "internal words"}, 403)
        remote = RemoteService("Notion", {}, Timeouts())
        with pytest.raises(ExtractionError) as refused:
            await fetch(remote, "GET", f"{service.url}/secret")
        url = service.url
    with pytest.raises(ServiceError) as away:
        await fetch(remote, "GET", f"{url}/secret")
    for error in (refused, away):
        assert "internal words" not in str(error.value)
        assert "127.0.0.1" not in str(error.value)
    assert "internal words" in capsys.readouterr().out
