"""Reads web pages through crawl providers: from the results of a crawl, or one page now."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from streams.dify.errors import ExtractionError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch
from streams.dify.sources.reference import WebPage

_MAX_PAGES = 1000


class WebReader(Protocol):
    """A provider that returns the Markdown of a page. Raises RefusedError, BusyError, ServiceError."""

    @property
    def url(self) -> str:
        """The address of the provider, for tenants that have no server of their own."""

    async def text(self, page: WebPage) -> str:
        """Return the page's Markdown."""


@dataclass(frozen=True, slots=True)
class JinaReader:
    """Jina's reader. The address of the page is in the body: as a part of the path, its dots could leave the path."""

    url: str
    key: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def text(self, page: WebPage) -> str:
        """Return the page in its current state."""
        key = page.access.secret if page.access else self.key
        service = Service("Jina", {"Accept": "application/json", **_bearer(key)}, self.timeouts)
        answer = await fetch(service, "POST", f"{self.url.rstrip('/')}/", json={"url": page.url})
        content = as_object(answer.get("data")).get("content")
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class Firecrawl:
    """Firecrawl: returns the result of a crawl job, or scrapes one page now."""

    url: str
    key: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def text(self, page: WebPage) -> str:
        """Return the page from the results of its crawl; without a crawl, scrape the page now."""
        key, own = (page.access.secret, page.access.url) if page.access else (self.key, None)
        address = f"{(own or self.url).rstrip('/')}/v1"
        service = Service("Firecrawl", _bearer(key), self.timeouts)
        if page.job_id is None:
            request = {"url": page.url, "formats": ["markdown"], "onlyMainContent": page.only_main_content}
            answer = await fetch(service, "POST", f"{address}/scrape", json=request)
            return _markdown(as_object(answer.get("data")))
        async for found in self._crawl_results(service, f"{address}/crawl/{quote(page.job_id, safe='')}"):
            if page.url in {as_object(found.get("metadata")).get(name) for name in ("sourceURL", "url")}:
                return _markdown(found)
        message = f"the crawl {page.job_id} has not found {page.url}"
        raise ExtractionError(message)

    async def _crawl_results(self, service: Service, address: str) -> AsyncIterator[JSONObject]:
        """Yield the pages of a crawl, over all result pages."""
        following = address
        for _ in range(_MAX_PAGES):
            answer = await fetch(service, "GET", following)
            if answer.get("status") == "failed":
                message = "the crawl has failed at Firecrawl"
                raise ExtractionError(message)
            if answer.get("status") != "completed":
                message = f"the crawl is not done yet at Firecrawl: {answer.get('status')}"
                raise ServiceError(message)
            pages = answer.get("data")
            for page in pages if isinstance(pages, list) else []:
                yield as_object(page)
            further = answer.get("next")
            # The key is sent to the provider only, not to another host in its response.
            if not isinstance(further, str) or further.partition("?")[0] != address:
                return
            following = further


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _markdown(page: JSONObject) -> str:
    text = page.get("markdown")
    return text if isinstance(text, str) else ""
