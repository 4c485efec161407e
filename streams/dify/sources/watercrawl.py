"""Watercrawl: the results of a crawl by its request, or one page crawled now."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from streams.dify.errors import ExtractionError, ServiceError
from streams.dify.http import Service, Thing, Timeouts, fetch, thing
from streams.dify.sources.reference import WebPage

_MOST_PARTS = 1000
_LOOKS = 60
_PAUSE = 1.0
"""Seconds between two looks at a crawl that was asked for here."""
_PAGE_OPTIONS = {"only_main_content": True, "wait_time": 1000, "timeout": 15000, "include_html": False}


@dataclass(frozen=True, slots=True)
class Watercrawl:
    """The API at an address, with a key."""

    url: str
    key: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def text(self, page: WebPage) -> str:
        """The page as the crawl found it; where no crawl is named, as it is now.

        Raises RefusedError, BusyError, ServiceError.
        """
        crawl = page.job_id or await self._crawled_now(page.url)
        async for found in self._results(crawl):
            if found.get("url") == page.url:
                return await self._markdown(found.get("result"))
        message = f"the crawl {crawl} has not found {page.url}"
        raise ExtractionError(message)

    async def _crawled_now(self, url: str) -> str:
        """Ask for a crawl of one page, and wait until it has ended."""
        asked = {"url": url, "options": {"spider_options": {"page_limit": 1}, "page_options": _PAGE_OPTIONS}}
        crawl = (await self._ask("POST", "", json=asked)).get("uuid")
        if not isinstance(crawl, str) or not crawl:
            message = "Watercrawl does not name the crawl that it was asked for"
            raise ServiceError(message)
        for _ in range(_LOOKS):
            status = (await self._ask("GET", f"{quote(crawl, safe='')}/")).get("status")
            if status in {"finished", "completed"}:
                return crawl
            if status in {"failed", "canceled", "cancelled"}:
                message = f"the crawl of {url} has {status} at Watercrawl"
                raise ExtractionError(message)
            await asyncio.sleep(_PAUSE)
        message = f"the crawl of {url} is not done yet at Watercrawl"
        raise ServiceError(message)

    async def _results(self, crawl: str) -> AsyncIterator[Thing]:
        """The pages of a crawl, part after part."""
        for part in range(1, _MOST_PARTS + 1):
            path = f"{quote(crawl, safe='')}/results/"
            answer = await self._ask("GET", path, params={"page": str(part), "page_size": "100"})
            pages = answer.get("results")
            for page in pages if isinstance(pages, list) else []:
                yield thing(page)
            if not answer.get("next"):
                return

    async def _markdown(self, result: object) -> str:
        """A result is there, or is the address of a file with it."""
        if isinstance(result, str):
            if urlsplit(result).scheme not in {"http", "https"}:
                message = f"Watercrawl's result is no address: {result[:100]!r}"
                raise ServiceError(message)
            # Such an address is signed for whoever has it: the key goes to the API alone.
            result = await fetch(Service("Watercrawl", {}, self.timeouts), "GET", result)
        markdown = thing(result).get("markdown")
        return markdown if isinstance(markdown, str) else ""

    async def _ask(self, method: str, path: str, *, params: dict[str, str] | None = None, json: object = None) -> Thing:
        address = f"{self.url.rstrip('/')}/api/v1/core/crawl-requests/{path}"
        service = Service("Watercrawl", {"X-API-Key": self.key} if self.key else {}, self.timeouts)
        return await fetch(service, method, address, params=params, json=json)
