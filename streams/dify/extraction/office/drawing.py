"""Reads the texts of drawings (DrawingML): paragraphs, charts and diagrams."""

from collections.abc import Iterable, Iterator

from lxml import etree

from streams.dify.extraction.office.markup import attribute, name_of
from streams.dify.extraction.office.package import OfficePackage

_TEXTS = {"a:br": "\n", "a:tab": "\t"}


def paragraph_text(paragraph: etree._Element) -> str:
    """Return the text of an ``a:p``."""
    pieces = []
    for element in paragraph.iter(etree.Element):
        name = name_of(element.tag)
        pieces.append((element.text or "") if name in {"a:t", "m:t"} else _TEXTS.get(name, ""))
    return "".join(pieces).strip()


def paragraph_lines(root: etree._Element) -> Iterator[str]:
    """Yield the texts of the paragraphs below an element, without the empty ones."""
    for element in root.iter(etree.Element):
        if name_of(element.tag) == "a:p":
            text = paragraph_text(element)
            if text:
                yield text


def related_lines(package: OfficePackage, part: str, drawing: etree._Element) -> Iterator[str]:
    """Yield the texts of a chart or a diagram (SmartArt).

    Args:
        package: the file.
        part: the name of the part that contains the drawing.
        drawing: the ``c:chart`` or ``dgm:relIds`` that refers to it.
    """
    chart = name_of(drawing.tag) == "c:chart"
    related = package.relationships(part).get(attribute(drawing, "r:id" if chart else "r:dm") or "")
    root = package.xml(related.target) if related is not None and not related.external else None
    if root is not None:
        yield from paragraph_lines(root)
        yield from _series_lines(root) if chart else ()


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
            points = "; ".join(f"{categories.get(place, '')} {value}".strip() for place, value in values.items())
            line = ": ".join(filter(None, (name, points or "; ".join(categories.values()))))
            if line:
                yield line


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
