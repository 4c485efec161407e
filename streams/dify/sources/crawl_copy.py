"""The platform's own copy of a crawl: ``website_files/<job id>.txt`` in the storage, a JSON list of pages.

The platform writes it when it sees that a crawl has ended. A provider forgets the results of a crawl after some time.
"""

import asyncio
import json

from streams.dify.errors import ExtractionError
from streams.dify.http import as_object
from streams.dify.sources.reference import WebPage
from streams.observability.logs import get_logger
from streams.storage import FileMissingError, Storage

log = get_logger(__name__)


async def stored_page(storage: Storage, page: WebPage) -> str | None:
    """Return the Markdown of a page from the copy of its crawl; None: the page has no crawl, or the crawl no copy.

    Raises ExtractionError if the copy does not contain the page, and StorageAwayError.
    """
    if page.job_id is None:
        return None
    key = f"website_files/{page.job_id}.txt"
    try:
        pages = await asyncio.to_thread(_pages, await storage.read(key))
    except FileMissingError:
        return None
    if pages is None:
        log.warning("the copy of a crawl is not a JSON list; the provider is asked", key=key)
        return None
    for found in map(as_object, pages):
        if found.get("source_url") == page.url:
            markdown = found.get("markdown")
            return markdown if isinstance(markdown, str) else ""
    message = f"the crawl {page.job_id} has not found {page.url}"
    raise ExtractionError(message)


def _pages(content: bytes) -> list[object] | None:
    try:
        pages: object = json.loads(content)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return pages if isinstance(pages, list) else None
