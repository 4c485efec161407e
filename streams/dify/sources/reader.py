"""Reads the content of a document from its source and returns it as a file: bytes and extension."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from streams.dify.errors import ExtractionError
from streams.dify.http import Timeouts
from streams.dify.sources.addresses import check_own_request, check_page_address
from streams.dify.sources.crawl_copy import stored_page
from streams.dify.sources.notion import Notion
from streams.dify.sources.reference import NotionPage, Source, StoredFile, WebPage
from streams.dify.sources.watercrawl import Watercrawl
from streams.dify.sources.website import Firecrawl, JinaReader, WebReader
from streams.settings import Settings
from streams.storage import Storage


class SourceContent(NamedTuple):
    """The content of a document, as a file."""

    content: bytes
    extension: str
    edited: str | None
    """The edit time of the source before it was read, in the source's format; None if the source has none."""


@dataclass(frozen=True, slots=True)
class SourceReader:
    """Reads documents from the storage, Notion and the web."""

    storage: Storage
    notion: Notion
    websites: Mapping[str, WebReader]
    """Key: the provider's name in data_source_info."""
    private_addresses: bool = False
    """Whether crawlers are asked for pages at private addresses."""

    async def read(self, source: Source) -> SourceContent:
        """Return the content of a document. Content of Notion and the web is plain text, as on the platform.

        Raises RefusedError, BusyError; FileMissingError and ServiceError, after which a retry may succeed.
        """
        if isinstance(source, StoredFile):
            return SourceContent(await self.storage.read(source.key), source.extension, None)
        edited: str | None = None
        if isinstance(source, NotionPage):
            page, place = await self._with_token(source), "the Notion page"
            edited = await self.notion.last_edited_time(page)
            text = await self.notion.text(page)
        else:
            text, place = await self._web_text(source), source.url
        if not text.strip():
            message = f"{place} contains no text"
            raise ExtractionError(message)
        return SourceContent(text.replace("\x00", "").encode(errors="replace"), "txt", edited)

    async def edited(self, source: NotionPage | WebPage) -> str | None:
        """Return the edit time of the source in its own format; None if it has none. Raises as `read` does."""
        if isinstance(source, WebPage):
            return None
        return await self.notion.last_edited_time(await self._with_token(source))

    async def _with_token(self, page: NotionPage) -> NotionPage:
        """Return the page with the token of the credential that its document names."""
        if page.credential is None:
            return page
        return replace(page, token=(await page.credential.opened(self.storage)).secret)

    async def _web_text(self, page: WebPage) -> str:
        """Return a crawled page from the platform's copy of the crawl, and ask the provider only without one."""
        reader = self._website(page.provider)
        check_page_address(page.url, private=self.private_addresses)
        if (copy := await stored_page(self.storage, page)) is not None:
            return copy
        if page.credential is None:
            return await reader.text(page)
        access = await page.credential.opened(self.storage)
        if access.url is not None:
            server = f"the tenant's own {page.provider} is"
            await check_own_request(access.url, reader.url, private=self.private_addresses, what=server)
        return await reader.text(replace(page, access=access))

    def _website(self, provider: str) -> WebReader:
        reader = self.websites.get(provider)
        if reader is None:
            message = f"the web crawler {provider!r} is not configured; available: {', '.join(self.websites)}"
            raise ExtractionError(message)
        return reader


def build_source_reader(settings: Settings, storage: Storage) -> SourceReader:
    """Create the reader with the sources of the settings."""
    token, jina, firecrawl, watercrawl = (
        secret.get_secret_value() if secret else None
        for secret in (settings.notion_token, settings.jina_key, settings.firecrawl_key, settings.watercrawl_key)
    )
    timeouts = Timeouts(settings.source_connect_timeout, settings.source_request_timeout)
    return SourceReader(
        storage=storage,
        notion=Notion(settings.notion_url, token, timeouts, frozenset(settings.notion_tenants)),
        websites={
            "jinareader": JinaReader(settings.jina_url, jina, timeouts),
            "firecrawl": Firecrawl(settings.firecrawl_url, firecrawl, timeouts),
            "watercrawl": Watercrawl(
                settings.watercrawl_url, watercrawl, timeouts, private_addresses=settings.source_private_addresses
            ),
        },
        private_addresses=settings.source_private_addresses,
    )
