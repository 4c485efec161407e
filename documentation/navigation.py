"""Reads the navigation of the site from the lists of docs/index.md."""

import re
from collections.abc import Iterator

_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_ITEM = re.compile(r"^- (?:(?P<label>[A-Z][\w ]*): (?=\[))?(?P<text>.+(?:\n  .+)*)", re.MULTILINE)
_PAGE = re.compile(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")

Entry = str | dict[str, "list[Entry]"]
"""A page by its path in docs, or a titled group: what `nav` of MkDocs takes. A page has the title that it states."""


def navigation(index: str, *, home: str, project: list[str]) -> list[Entry]:
    """Return the navigation that the index describes.

    A `##` section is a group with the pages of its list. An item that begins with a label and a colon is a group of its
    own. A section of one page is that page. Pages that only other text of the index names follow in their order.

    Args:
        index: The text of docs/index.md.
        home: The first page of the site.
        project: Pages of the project itself, such as its changelog: the last group.
    """
    preamble, *parts = _SECTION.split(index)
    seen = {home, *project}
    sections = [(title, _section(text, seen)) for title, text in zip(parts[::2], parts[1::2], strict=True)]
    entries: list[Entry] = [home]
    for title, pages in sections:
        entries.extend(pages if len(pages) == 1 else [{title: pages}] if pages else [])
    entries.extend(_new(preamble, seen))
    return [*entries, {"Project": [*project]}]


def _section(text: str, seen: set[str]) -> list[Entry]:
    pages: list[Entry] = []
    for item in _ITEM.finditer(text):
        found: list[Entry] = [*_new(item["text"], seen)]
        pages.extend([{item["label"]: found}] if item["label"] and found else found)
    pages.extend(_new(text, seen))
    return pages


def _new(text: str, seen: set[str]) -> Iterator[str]:
    """Yield the pages in docs that a text links to and that have no place yet."""
    for path in _PAGE.findall(text):
        if path not in seen and not path.startswith("../"):
            seen.add(path)
            yield path


def pages_of(entries: list[Entry]) -> list[str]:
    """Return the pages of a navigation in their order."""
    pages: list[str] = []
    for entry in entries:
        if isinstance(entry, str):
            pages.append(entry)
        else:
            pages.extend(page for group in entry.values() for page in pages_of(group))
    return pages
