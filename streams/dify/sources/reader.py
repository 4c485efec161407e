"""A document's content, wherever it comes from, as a file: its bytes and its extension."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from streams.dify.errors import ExtractionError
from streams.dify.http import Timeouts
from streams.dify.sources.notion import Notion
from streams.dify.sources.reference import NotionPage, Source, StoredFile, WebPage
from streams.dify.sources.watercrawl import Watercrawl
from streams.dify.sources.website import Firecrawl, JinaReader, WebReader
from streams.settings import Settings
from streams.storage import Storage


class Read(NamedTuple):
    """A document's content, as a file."""

    content: bytes
    extension: str
    edited: str | None
    """When the source had been changed before it was read, in its own words; None where it does not say."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The places that documents come from."""

    storage: Storage
    notion: Notion
    websites: Mapping[str, WebReader]
    """By the provider's name in data_source_info."""

    async def read(self, source: Source) -> Read:
        """What Notion and the web give is text as it stands, like the platform's.

        Raises RefusedError, BusyError; FileMissingError and ServiceError, which a repeat may mend.
        """
        if isinstance(source, StoredFile):
            return Read(await self.storage.read(source.key), source.extension, None)
        edited = await self.edited(source)
        if isinstance(source, NotionPage):
            text, place = await self.notion.text(source), "the Notion page"
        else:
            text, place = await self._website(source.provider).text(source), source.url
        if not text.strip():
            message = f"{place} holds no text"
            raise ExtractionError(message)
        return Read(text.replace("\x00", "").encode(errors="replace"), "txt", edited)

    async def edited(self, source: NotionPage | WebPage) -> str | None:
        """When the source was changed, in its own words; None where it does not say. Raises as `read`."""
        return await self.notion.last_edited_time(source) if isinstance(source, NotionPage) else None

    def _website(self, provider: str) -> WebReader:
        reader = self.websites.get(provider)
        if reader is None:
            message = f"the web crawler {provider!r} is not set up here; there is {', '.join(self.websites)}"
            raise ExtractionError(message)
        return reader


def build_reading(settings: Settings, storage: Storage) -> Reading:
    """The places that the settings name."""
    token, jina, firecrawl, watercrawl = (
        secret.get_secret_value() if secret else None
        for secret in (settings.notion_token, settings.jina_key, settings.firecrawl_key, settings.watercrawl_key)
    )
    timeouts = Timeouts(settings.source_connect_timeout, settings.source_request_timeout)
    return Reading(
        storage=storage,
        notion=Notion(settings.notion_url, token, timeouts),
        websites={
            "jinareader": JinaReader(settings.jina_url, jina, timeouts),
            "firecrawl": Firecrawl(settings.firecrawl_url, firecrawl, timeouts),
            "watercrawl": Watercrawl(settings.watercrawl_url, watercrawl, timeouts),
        },
    )
