"""Finds what a sheet says of its cells beside their values: merged cells, links, and formulas without a result.

The XML of a sheet is searched in pieces, before its rows are read: some of it stands after them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import unescape

from streams.dify.extraction.tables.merged_cells import MergedCell

_ELEMENT = re.compile(
    rb"<(?:\w+:)?(?:mergeCell\b(?P<merged>[^<>]*)|hyperlink\b(?P<link>[^<>]*)"
    rb"|c\b(?P<cell>[^<>]*)>\s*<(?:\w+:)?f\b[^<>]*?(?:/>|>(?P<code>[^<]*)</(?:\w+:)?f>)\s*(?P<end></(?:\w+:)?c>)?)"
)
_ATTRIBUTE = re.compile(rb"""\b([\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_PLACE = re.compile(rb"([A-Z]{1,3})([0-9]{1,7})(?::([A-Z]{1,3})([0-9]{1,7}))?")
_LINK = re.compile(rb'\s*HYPERLINK\(\s*"([^"]{1,2000})"')
"""The formula of a link. Its result is the text that is shown."""
_LONGEST = 4096
"""Bytes of an element that may lie across two pieces."""
MAX_LINKED = 100_000
"""Rows of a sheet with links. Excel allows fewer links."""


@dataclass(slots=True)
class SheetElements:
    """What was found in one sheet."""

    merged: list[MergedCell] = field(default_factory=list)
    links: dict[int, dict[int, str]] = field(default_factory=dict)
    """The addresses by the row, from 1, and the column, from 0."""
    without_result: int = 0
    """Formulas without a stored result, as programs other than spreadsheets write them."""


def sheet_elements(sheet: Iterable[bytes], addresses: Mapping[str, str]) -> SheetElements:
    """Return the elements of a sheet.

    Args:
        sheet: its XML in pieces.
        addresses: the addresses outside of the file that it refers to, by their ids.
    """
    found = SheetElements()
    rest = b""
    for chunk in sheet:
        rest += chunk
        end = 0
        for element in _ELEMENT.finditer(rest):
            end = element.end()
            _add(found, element, addresses)
        rest = rest[max(end, len(rest) - _LONGEST) :]
    return found


def _add(found: SheetElements, element: re.Match[bytes], addresses: Mapping[str, str]) -> None:
    if element["merged"] is not None:
        place = _PLACE.fullmatch(_attributes(element["merged"]).get("ref", b""))
        if place and place[3]:
            found.merged.append(MergedCell(int(place[2]), int(place[4]), _column(place[1]), _column(place[3])))
    elif element["link"] is not None:
        attributes = _attributes(element["link"])
        address = addresses.get(_text(attributes.get("id", b"")), "")
        location = _text(attributes.get("location", b""))
        _add_link(found, attributes.get("ref", b""), f"{address}#{location}" if address and location else address)
    else:
        found.without_result += element["end"] is not None
        link = _LINK.match(element["code"] or b"")
        if link:
            _add_link(found, _attributes(element["cell"]).get("r", b""), _text(link[1]))


def _add_link(found: SheetElements, reference: bytes, address: str) -> None:
    place = _PLACE.match(reference)
    if place and address and len(found.links) < MAX_LINKED:
        found.links.setdefault(int(place[2]), {})[_column(place[1])] = address


def _attributes(content: bytes) -> dict[str, bytes]:
    """Return the attributes of a tag by their names without prefixes."""
    return {name.rpartition(b":")[2].decode(): one or other for name, one, other in _ATTRIBUTE.findall(content)}


def _text(value: bytes) -> str:
    return unescape(value.decode("utf-8", "replace"))


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number - 1
