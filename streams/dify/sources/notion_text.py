"""The text of Notion's blocks, and of the rows of its databases."""

from collections.abc import Iterable
from itertools import groupby

from streams.dify.http import JSONObject, as_object

_HEADINGS = {"heading_1": "# ", "heading_2": "## ", "heading_3": "### "}
_CHECKED = {False: "[ ] ", True: "[x] "}


def block_text(block: JSONObject) -> str:
    """Return the text of a block without its nested blocks: words, a formula, or a link with its caption."""
    kind = str(block.get("type"))
    content = _part(block, kind)
    cells = content.get("cells")
    if isinstance(cells, list):
        return " | ".join(rich_text(cell) for cell in cells)
    text = rich_text(content.get("rich_text")) or str(content.get("title") or content.get("expression") or "")
    shown = " ".join(filter(None, (text, _link(content))))
    mark = _CHECKED[bool(content.get("checked"))] if kind == "to_do" else _HEADINGS.get(kind, "")
    return mark + shown


def row_line(row: JSONObject) -> str:
    """Return ``name: value;…`` of the properties that have a value, and the address of the row's page."""
    named = {name: _property(as_object(value)) for name, value in _part(row, "properties").items()}
    if isinstance(url := row.get("url"), str):
        named["Row Page URL"] = url
    return ";".join(f"{name}: {value}" for name, value in named.items() if value)


def rich_text(value: object) -> str:
    """Return a rich text without its styles, with its links in Markdown.

    A change of style is no border between words, nor between the parts of one link.
    """
    parts = [as_object(part) for part in value] if isinstance(value, list) else []
    return "".join(
        f"[{text}]({url})" if url and url != text else text
        for url, text in ((url, _plain(linked)) for url, linked in groupby(parts, _address))
    )


def _plain(parts: Iterable[JSONObject]) -> str:
    return "".join(str(part.get("plain_text") or "") for part in parts)


def _address(part: JSONObject) -> str:
    """Return the address that a part of a text links to; empty for a mention, whose address is in Notion."""
    url = _part(_part(part, "text"), "link").get("url")
    return url if isinstance(url, str) and "://" in url and str(part.get("plain_text") or "").strip() else ""


def _link(content: JSONObject) -> str:
    """Return the caption and the address of a bookmark, an embed or a file.

    The address of a file that Notion keeps is left out: it is signed, and expires within an hour.
    """
    caption = content.get("caption")
    label = _plain(map(as_object, caption if isinstance(caption, list) else ())) or str(content.get("name") or "")
    url = content.get("url") or _part(content, "external").get("url")
    if not isinstance(url, str) or not url:
        return label
    return f"[{label}]({url})" if label else url


def _property(held: JSONObject) -> str:
    """Return a property's value, or the value of a formula or a roll-up, which has the same form."""
    kind = str(held.get("type"))
    value = held.get(kind)
    if kind in {"title", "rich_text"}:
        return rich_text(value)
    if isinstance(value, list):
        return _joined(map(_item, value))
    return _single(kind, value)


def _single(kind: str, value: object) -> str:
    if kind in {"formula", "rollup"}:
        return _property(as_object(value))
    if kind == "unique_id":
        found = as_object(value)
        return "-".join(str(found[name]) for name in ("prefix", "number") if found.get(name) is not None)
    return _shown(value)


def _item(value: object) -> str:
    """Return an item of a list: a tag, a person, a file, a related page, or in a roll-up a property."""
    item = as_object(value)
    is_property = str(item.get("type")) in item and "name" not in item and "object" not in item
    return _property(item) if is_property else _shown(value)


def _shown(value: object) -> str:
    if not isinstance(value, dict):
        return "" if value is None else str(value)
    if isinstance(start := value.get("start"), str):
        end = value.get("end")
        return f"{start} to {end}" if isinstance(end, str) else start
    names = ("plain_text", "name", "state", "id")
    return next((str(value[name]) for name in names if value.get(name)), "")


def _joined(values: Iterable[str]) -> str:
    return ", ".join(filter(None, values))


def _part(of: JSONObject, name: str) -> JSONObject:
    return as_object(of.get(name))
