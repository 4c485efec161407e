"""Web pages, through the providers that crawl them: what a crawl has found, or one page asked for now."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from streams.dify.errors import ExtractionError, ServiceError
from streams.dify.http import Service, Thing, Timeouts, fetch, thing
from streams.dify.sources.reference import WebPage

_MOST_PARTS = 1000


class WebReader(Protocol):
    """A provider: the Markdown of a page. Raises RefusedError, BusyError, ServiceError."""

    async def text(self, page: WebPage) -> str:
        """The page's Markdown."""


@dataclass(frozen=True, slots=True)
class JinaReader:
    """Jina's reader: GET address/URL answers with the page."""

    url: str
    key: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def text(self, page: WebPage) -> str:
        """The page as it is now."""
        service = Service("Jina", {"Accept": "application/json", **_bearer(self.key)}, self.timeouts)
        answer = await fetch(service, "GET", f"{self.url.rstrip('/')}/{page.url}")
        content = thing(answer.get("data")).get("content")
        return content if isinstance(content, str) else ""


@dataclass(frozen=True, slots=True)
class Firecrawl:
    """Firecrawl: the result of a crawl by its job, or one page scraped now."""

    url: str
    key: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def text(self, page: WebPage) -> str:
        """The page as the crawl found it; where no crawl is named, as it is now."""
        address = f"{self.url.rstrip('/')}/v1"
        service = Service("Firecrawl", _bearer(self.key), self.timeouts)
        if page.job_id is None:
            asked = {"url": page.url, "formats": ["markdown"], "onlyMainContent": True}
            answer = await fetch(service, "POST", f"{address}/scrape", json=asked)
            return _markdown(thing(answer.get("data")))
        async for found in self._crawled(service, f"{address}/crawl/{quote(page.job_id, safe='')}"):
            if page.url in {thing(found.get("metadata")).get(name) for name in ("sourceURL", "url")}:
                return _markdown(found)
        message = f"the crawl {page.job_id} has not found {page.url}"
        raise ExtractionError(message)

    async def _crawled(self, service: Service, address: str) -> AsyncIterator[Thing]:
        """The pages of a crawl, part after part."""
        following = address
        for _ in range(_MOST_PARTS):
            answer = await fetch(service, "GET", following)
            if answer.get("status") == "failed":
                message = "the crawl has failed at Firecrawl"
                raise ExtractionError(message)
            if answer.get("status") != "completed":
                message = f"the crawl is not done yet at Firecrawl: {answer.get('status')}"
                raise ServiceError(message)
            pages = answer.get("data")
            for page in pages if isinstance(pages, list) else []:
                yield thing(page)
            further = answer.get("next")
            # The key goes to the provider alone, wherever its answer points.
            if not isinstance(further, str) or not further.startswith(address):
                return
            following = further


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _markdown(page: Thing) -> str:
    text = page.get("markdown")
    return text if isinstance(text, str) else ""
