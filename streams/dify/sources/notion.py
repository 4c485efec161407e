"""Notion: the text of a page, its blocks and theirs in order, or the rows of a database."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from streams.dify.errors import ExtractionError
from streams.dify.http import Service, Thing, Timeouts, fetch, thing
from streams.dify.sources.reference import NotionPage

_VERSION = "2022-06-28"
_DEEPEST = 10
_MOST_BLOCKS = 20_000
_PAGE_SIZE = 100
_HEADINGS = {"heading_1": "# ", "heading_2": "## ", "heading_3": "### "}


@dataclass(frozen=True, slots=True)
class Notion:
    """The API at an address; a token of its own for pages of workspaces that have given none."""

    url: str
    token: str | None
    timeouts: Timeouts = field(default_factory=Timeouts)

    async def text(self, page: NotionPage) -> str:
        """Raises RefusedError, BusyError, ServiceError."""
        if page.kind == "database":
            rows = self._all(page, "POST", f"databases/{page.page_id}/query")
            return "\n\n".join([_row_line(row) async for row in rows])
        return "\n".join([line async for line in self._lines(page, page.page_id, 0)])

    async def last_edited_time(self, page: NotionPage) -> str:
        """When the page or the database itself was changed, in Notion's words. Raises as `text`."""
        kind = "databases" if page.kind == "database" else "pages"
        answer = await self._ask(page, "GET", f"{kind}/{page.page_id}")
        edited = answer.get("last_edited_time")
        if not isinstance(edited, str):
            message = f"Notion does not say when {page.page_id} was edited"
            raise ExtractionError(message)
        return edited

    async def _lines(self, page: NotionPage, block_id: str, depth: int) -> AsyncIterator[str]:
        async for block in self._all(page, "GET", f"blocks/{block_id}/children"):
            kind = str(block.get("type"))
            yield "  " * depth + _HEADINGS.get(kind, "") + _block_text(_part(block, kind))
            # A child page is a document of its own.
            if block.get("has_children") and kind not in {"child_page", "child_database"} and depth < _DEEPEST:
                async for line in self._lines(page, str(block.get("id")), depth + 1):
                    yield line

    async def _all(self, page: NotionPage, method: str, path: str) -> AsyncIterator[Thing]:
        """Every result, page after page; a list that does not end is refused."""
        cursor: str | None = None
        seen = 0
        while True:
            answer = await self._answer(page, method, path, cursor)
            results = answer.get("results")
            for result in results if isinstance(results, list) else []:
                seen += 1
                yield result
            following = answer.get("next_cursor") if answer.get("has_more") else None
            if not isinstance(following, str):
                return
            if following == cursor or seen > _MOST_BLOCKS:
                message = f"Notion lists more than {_MOST_BLOCKS} blocks, or the same ones again"
                raise ExtractionError(message)
            cursor = following

    async def _answer(self, page: NotionPage, method: str, path: str, cursor: str | None) -> Thing:
        start = {"start_cursor": cursor} if cursor else {}
        if method == "GET":
            return await self._ask(page, method, path, params={"page_size": str(_PAGE_SIZE), **start})
        return await self._ask(page, method, path, json={"page_size": _PAGE_SIZE, **start})

    async def _ask(
        self,
        page: NotionPage,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: object = None,
    ) -> Thing:
        token = page.token or self.token
        if not token:
            message = "Notion is not set up here: connect the workspace, or set STREAMS_NOTION_TOKEN"
            raise ExtractionError(message)
        service = Service("Notion", {"Authorization": f"Bearer {token}", "Notion-Version": _VERSION}, self.timeouts)
        return await fetch(service, method, f"{self.url.rstrip('/')}/v1/{path}", params=params, json=json)


def _part(of: Thing, name: str) -> Thing:
    return thing(of.get(name))


def _rich(value: object) -> str:
    parts = value if isinstance(value, list) else []
    return "".join(str(thing(part).get("plain_text", "")) for part in parts)


def _block_text(content: Thing) -> str:
    cells = content.get("cells")
    if isinstance(cells, list):
        return " | ".join(_rich(cell) for cell in cells)
    return _rich(content.get("rich_text")) or str(content.get("title", ""))


def _row_line(row: Thing) -> str:
    """``name: value;…`` of the filled properties."""
    named = {name: _property(thing(value)) for name, value in _part(row, "properties").items()}
    return ";".join(f"{name}: {value}" for name, value in named.items() if value)


def _property(held: Thing) -> str:
    value = held.get(str(held.get("type")))
    if isinstance(value, list):
        return ", ".join(filter(None, (_shown(each) for each in value)))
    return _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return str(value.get("plain_text") or value.get("name") or value.get("start") or "")
    return "" if value is None else str(value)
