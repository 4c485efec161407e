"""Reads web pages through Watercrawl: from the results of a crawl, or by crawling one page now."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlsplit

from streams.dify.errors import ExtractionError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch, is_path_name
from streams.dify.sources.addresses import check_own_request
from streams.dify.sources.reference import WebPage

_MAX_PAGES = 1000
_MAX_POLLS = 60
_POLL_SECONDS = 1.0
"""Seconds between two status requests for a crawl."""
_PAGE_OPTIONS = {"wait_time": 1000, "timeout": 15000, "include_html": False}


@dataclass(frozen=True, slots=True)
class Watercrawl:
    """The Watercrawl API, with a key."""

    url: str
    key: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)
    private_addresses: bool = False
    """Whether a result may be at a private address."""

    async def text(self, page: WebPage) -> str:
        """Return the page from the results of its crawl; without a crawl, crawl the page now.

        Raises RefusedError, BusyError, ServiceError.
        """
        if page.access is not None:
            own = replace(self, key=page.access.secret, url=page.access.url or self.url)
            return await own.text(replace(page, access=None))
        crawl = page.job_id or await self._crawl_page(page)
        async for found in self._results(crawl):
            if found.get("url") == page.url:
                return await self._markdown(found.get("result"))
        message = f"the crawl {crawl} has not found {page.url}"
        raise ExtractionError(message)

    async def _crawl_page(self, page: WebPage) -> str:
        """Start a crawl of one page and wait until it has ended. Returns the id of the crawl."""
        url, options = page.url, {**_PAGE_OPTIONS, "only_main_content": page.only_main_content}
        request = {"url": url, "options": {"spider_options": {"page_limit": 1}, "page_options": options}}
        crawl = (await self._request("POST", "", json=request)).get("uuid")
        if not isinstance(crawl, str) or not is_path_name(crawl):
            message = "Watercrawl returned no id of the requested crawl"
            raise ServiceError(message)
        for _ in range(_MAX_POLLS):
            status = (await self._request("GET", f"{quote(crawl, safe='')}/")).get("status")
            if status in {"finished", "completed"}:
                return crawl
            if status in {"failed", "canceled", "cancelled"}:
                message = f"the crawl of {url} has {status} at Watercrawl"
                raise ExtractionError(message)
            await asyncio.sleep(_POLL_SECONDS)
        message = f"the crawl of {url} is not done yet at Watercrawl"
        raise ServiceError(message)

    async def _results(self, crawl: str) -> AsyncIterator[JSONObject]:
        """Yield the pages of a crawl, over all result pages."""
        for part in range(1, _MAX_PAGES + 1):
            path = f"{quote(crawl, safe='')}/results/"
            answer = await self._request("GET", path, params={"page": str(part), "page_size": "100"})
            pages = answer.get("results")
            for page in pages if isinstance(pages, list) else []:
                yield as_object(page)
            if not answer.get("next"):
                return

    async def _markdown(self, result: object) -> str:
        """Return the Markdown of a result. The result is an object, or the URL of a file that contains it."""
        if isinstance(result, str):
            if urlsplit(result).scheme not in {"http", "https"}:
                message = "Watercrawl's result is not a URL"
                raise ServiceError(message)
            await check_own_request(result, self.url, private=self.private_addresses)
            # The URL is signed, so it works without the key. The key is sent to the API only.
            result = await fetch(Service("Watercrawl", {}, self.timeouts), "GET", result)
        markdown = as_object(result).get("markdown")
        return markdown if isinstance(markdown, str) else ""

    async def _request(
        self, method: str, path: str, *, params: dict[str, str] | None = None, json: object = None
    ) -> JSONObject:
        address = f"{self.url.rstrip('/')}/api/v1/core/crawl-requests/{path}"
        service = Service("Watercrawl", {"X-API-Key": self.key} if self.key else {}, self.timeouts)
        return await fetch(service, method, address, params=params, json=json)
