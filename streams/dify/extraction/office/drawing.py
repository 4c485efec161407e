"""Reads the texts of drawings (DrawingML): paragraphs, charts and diagrams."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType

from lxml import etree

from streams.dify.extraction.office.equations import equation_text
from streams.dify.extraction.office.markup import attribute, child, name_of, unwrapped
from streams.dify.extraction.office.package import OfficePackage

_NONE: Mapping[str, str] = MappingProxyType({})
_LEAVES = frozenset({"a:t", "m:oMath", "a:br", "a:pPr", "a:rPr", "a:endParaRPr"})


def paragraph_text(paragraph: etree._Element, addresses: Mapping[str, str] = _NONE) -> str:
    """Return the text of an ``a:p``, with its links in Markdown.

    Args:
        paragraph: the ``a:p``.
        addresses: the addresses outside of the file that its part refers to, by their ids.
    """
    pieces: list[tuple[str, str]] = []
    address = ""
    for element in unwrapped(paragraph, lambda name: name not in _LEAVES):
        name = name_of(element.tag)
        if name == "a:rPr":
            link = child(element, "a:hlinkClick")
            address = addresses.get(attribute(link, "r:id") or "", "") if link is not None else ""
        elif name == "a:t":
            text = element.text or ""
            pieces.append((address if text.strip() else "", text))
            address = ""
        elif name in _SIGNS:
            pieces.append(("", _SIGNS[name](element)))
    linked = ((to, "".join(text for _, text in run)) for to, run in groupby(pieces, key=itemgetter(0)))
    shown = (f"[{text}]({to})" if to and text not in {to, to.removeprefix("mailto:")} else text for to, text in linked)
    return "".join(shown).strip()


_SIGNS: Mapping[str, Callable[[etree._Element], str]] = {"a:br": lambda _: "\n", "m:oMath": equation_text}


def body_text(body: etree._Element, addresses: Mapping[str, str] = _NONE) -> str:
    """Return the paragraphs of a ``txBody``, a line each. The addresses are those of `paragraph_text`."""
    return "\n".join(paragraph_text(one, addresses) for one in body if name_of(one.tag) == "a:p").strip()


class RelatedDrawings:
    """Reads the charts and diagrams (SmartArt) that a file refers to, each once."""

    def __init__(self, package: OfficePackage) -> None:
        self._package = package
        self._read: set[str] = set()

    def lines(self, part: str, drawing: etree._Element) -> Iterator[str]:
        """Yield the texts of a chart or a diagram, unless they have been read.

        Args:
            part: the name of the part that contains the drawing.
            drawing: the ``c:chart`` or ``dgm:relIds`` that refers to it.
        """
        chart = name_of(drawing.tag) == "c:chart"
        related = self._package.relationships(part).get(attribute(drawing, "r:id" if chart else "r:dm") or "")
        if related is None or related.external or related.target in self._read:
            return
        self._read.add(related.target)
        root = self._package.xml(related.target)
        if root is not None:
            yield from _paragraph_lines(root)
            yield from _series_lines(root) if chart else ()


def _paragraph_lines(root: etree._Element) -> Iterator[str]:
    for element in unwrapped(root, lambda name: name != "a:p"):
        text = paragraph_text(element)
        if text:
            yield text


def _series_lines(chart: etree._Element) -> Iterator[str]:
    """Yield a line per series of a chart: its name, and each category with its value."""
    for series in chart.iter(etree.Element):
        if name_of(series.tag) == "c:ser":
            name, categories, values = "", {}, {}
            for element in series:
                kind = name_of(element.tag)
                if kind == "c:tx":
                    name = " ".join(_points(element).values())
                elif kind in {"c:cat", "c:xVal"}:
                    categories = _points(element)
                elif kind in {"c:val", "c:yVal"}:
                    values = _points(element)
            shown = {place: _rounded(value) for place, value in values.items()}
            points = "; ".join(f"{categories.get(place, '')} {value}".strip() for place, value in shown.items())
            line = ": ".join(filter(None, (name, points or "; ".join(categories.values()))))
            if line:
                yield line


def _rounded(value: str) -> str:
    """Return a number without the digits that only its binary form has: 2.4000000000000004 is 2.4."""
    try:
        return format(float(value), ".12g")
    except ValueError:
        return value


def _points(element: etree._Element) -> dict[str, str]:
    """Return the stored points by their number."""
    return dict(_numbered(element.iter(etree.Element)))


def _numbered(elements: Iterable[etree._Element]) -> Iterator[tuple[str, str]]:
    number = ""
    for element in elements:
        name = name_of(element.tag)
        if name == "c:pt":
            number = element.get("idx", "")
        elif name == "c:v":
            yield number, (element.text or "").strip()
