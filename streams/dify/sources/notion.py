"""Reads Notion: the text of a page with its nested blocks in order, or the rows of a database."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from streams.dify.errors import ExtractionError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch, is_path_name
from streams.dify.sources.notion_text import block_text, row_line
from streams.dify.sources.reference import NotionPage

_VERSION = "2022-06-28"
_MAX_DEPTH = 10
_MAX_BLOCKS = 20_000
"""Of one list."""
_MAX_LINES = 100_000
"""Of a page with all its nested blocks."""
_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Notion:
    """The Notion API.

    `token` is used for workspaces that have no token of their own, of these `tenants` only: a tenant could name any
    page that the token can read. ``*`` means all tenants.
    """

    url: str
    token: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)
    tenants: frozenset[str] = frozenset()

    async def text(self, page: NotionPage) -> str:
        """Return the text of a page or database. Raises RefusedError, BusyError, ServiceError."""
        if page.kind == "database":
            rows = self._all(page, "POST", f"databases/{page.page_id}/query")
            return "\n\n".join([row_line(row) async for row in rows])
        lines: list[str] = []
        async for line in self._lines(page, page.page_id, 0):
            lines.append(line)
            if len(lines) > _MAX_LINES:
                message = f"the Notion page has more than {_MAX_LINES} blocks; split it into several pages"
                raise ExtractionError(message)
        return "\n".join(lines)

    async def last_edited_time(self, page: NotionPage) -> str:
        """Return the edit time of the page or database, in Notion's format. Raises the same errors as `text`."""
        kind = "databases" if page.kind == "database" else "pages"
        answer = await self._request(page, "GET", f"{kind}/{page.page_id}")
        edited = answer.get("last_edited_time")
        if not isinstance(edited, str):
            message = f"Notion returns no edit time for {page.page_id}"
            raise ExtractionError(message)
        return edited

    async def _lines(self, page: NotionPage, block_id: str, depth: int) -> AsyncIterator[str]:
        async for block in self._all(page, "GET", f"blocks/{block_id}/children"):
            kind = str(block.get("type"))
            yield "  " * depth + block_text(block)
            # A child page is a separate document.
            if block.get("has_children") and kind not in {"child_page", "child_database"} and depth < _MAX_DEPTH:
                nested = str(block.get("id"))
                if not is_path_name(nested):
                    message = "Notion returns a block whose id is not one"
                    raise ExtractionError(message)
                async for line in self._lines(page, nested, depth + 1):
                    yield line

    async def _all(self, page: NotionPage, method: str, path: str) -> AsyncIterator[JSONObject]:
        """Yield every result of a paginated list. Raises ExtractionError for a list that is too long or repeats."""
        cursor: str | None = None
        count = 0
        while True:
            answer = await self._page(page, method, path, cursor)
            results = answer.get("results")
            if not isinstance(results, list):  # An error page in JSON: the rest of the text would be lost.
                message = "Notion answers without a list of results"
                raise ServiceError(message)
            for result in results:
                count += 1
                yield as_object(result)
            following = answer.get("next_cursor") if answer.get("has_more") else None
            if not isinstance(following, str):
                return
            if following == cursor or count > _MAX_BLOCKS:
                message = f"Notion lists more than {_MAX_BLOCKS} blocks, or the same ones again"
                raise ExtractionError(message)
            cursor = following

    async def _page(self, page: NotionPage, method: str, path: str, cursor: str | None) -> JSONObject:
        start = {"start_cursor": cursor} if cursor else {}
        if method == "GET":
            return await self._request(page, method, path, params={"page_size": str(_PAGE_SIZE), **start})
        return await self._request(page, method, path, json={"page_size": _PAGE_SIZE, **start})

    async def _request(
        self,
        page: NotionPage,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
    ) -> JSONObject:
        token = page.token or (self.token if self.tenants & {page.tenant_id, "*"} else None)
        if not token:
            if page.missing_credential is not None:
                message = f"the credential {page.missing_credential} of notion does not exist: connect Notion again"
                raise ExtractionError(message)
            message = (
                "Notion is not configured for this tenant: connect the workspace, or set STREAMS_NOTION_TOKEN and "
                "name the tenant in STREAMS_NOTION_TENANTS"
            )
            raise ExtractionError(message)
        service = Service("Notion", {"Authorization": f"Bearer {token}", "Notion-Version": _VERSION}, self.timeouts)
        return await fetch(service, method, f"{self.url.rstrip('/')}/v1/{path}", params=params, json=json)
