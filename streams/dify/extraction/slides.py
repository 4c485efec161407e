"""Reads PowerPoint (pptx): the texts, tables, charts, diagrams and notes of each slide."""

from collections.abc import Container, Iterator, Mapping

from lxml import etree

from streams.dify.extraction.bounds import within_length
from streams.dify.extraction.office.drawing import RelatedDrawings, body_text
from streams.dify.extraction.office.markdown_table import markdown_rows, repeated
from streams.dify.extraction.office.markup import attribute, child, name_of, unwrapped
from streams.dify.extraction.office.package import OfficePackage, parse_xml
from streams.dify.extraction.result import Extracted, Part

_GROUPS = frozenset({"p:grpSp"})
_DRAWINGS = frozenset({"c:chart", "dgm:relIds"})
_OUTSIDE_OF_NOTES = frozenset({"dt", "ftr", "hdr", "sldImg", "sldNum"})
"""The placeholders of a page of notes that are not of the notes: date, footer, header, slide and number."""


def slides_content(content: bytes) -> Extracted:
    """Return one part per slide. Raises ExtractionError."""
    deck = _DeckReader(OfficePackage(content))
    return Extracted(tuple(within_length(deck.parts())), warnings=tuple(deck.warnings))


class _DeckReader:
    """Reads the slides of a presentation in order."""

    def __init__(self, package: OfficePackage) -> None:
        self._package = package
        self._drawings = RelatedDrawings(package)
        self.warnings: list[str] = []

    def parts(self) -> Iterator[Part]:
        for number, name in enumerate(self._slides(), start=1):
            slide = self._package.xml(name)
            if slide is None:
                self.warnings.append(f"slide {number} is damaged and is not read")
                continue
            lines = [*self._lines(name, slide), *self._notes(name)]
            text = "\n".join(filter(None, lines))
            if text:
                yield Part(text, {"slide": number})

    def _slides(self) -> list[str]:
        """Return the names of the slides, each once, however often the file names it."""
        main = self._package.main_part()
        root = parse_xml(self._package.read(main) or b"")
        if name_of(root.tag) != "p:presentation":
            message = "it is no presentation"
            raise ValueError(message)
        related = self._package.relationships(main)
        listed = child(root, "p:sldIdLst")
        ids = (attribute(one, "r:id") or "" for one in (listed if listed is not None else ()))
        return list(dict.fromkeys(related[one].target for one in ids if one in related))

    def _lines(self, part: str, page: etree._Element, without: Container[str] = ()) -> Iterator[str]:
        """Yield the lines of a slide or a page of notes, without the placeholders of some types."""
        tree = child(page, "p:cSld", "p:spTree")
        addresses = self._package.addresses(part)
        for shape in unwrapped(tree, _GROUPS.__contains__) if tree is not None else ():
            placeholder = child(shape, "p:nvSpPr", "p:nvPr", "p:ph")
            if name_of(shape.tag) == "p:graphicFrame":
                yield from self._graphic(part, shape, addresses)
            elif placeholder is None or placeholder.get("type") not in without:
                yield _shape_text(shape, addresses)

    def _graphic(self, part: str, frame: etree._Element, addresses: Mapping[str, str]) -> Iterator[str]:
        for element in unwrapped(frame, lambda name: name not in _DRAWINGS and name != "a:tbl"):
            if name_of(element.tag) == "a:tbl":
                yield from markdown_rows(_table(element, addresses))
            else:
                yield from self._drawings.lines(part, element)

    def _notes(self, part: str) -> Iterator[str]:
        for name in self._package.related(part, "notesSlide"):
            notes = self._package.xml(name)
            if notes is not None:
                yield from self._lines(name, notes, _OUTSIDE_OF_NOTES)


def _shape_text(shape: etree._Element, addresses: Mapping[str, str]) -> str:
    body = child(shape, "p:txBody")
    return body_text(body, addresses) if body is not None else ""


def _table(table: etree._Element, addresses: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the rows of a table. The file has a cell for each column, also where cells are merged."""
    above: dict[int, str] = {}
    for row in table:
        if name_of(row.tag) == "a:tr":
            texts = []
            for column, cell in enumerate(one for one in row if name_of(one.tag) == "a:tc"):
                body = child(cell, "a:txBody")
                text = body_text(body, addresses) if body is not None else ""
                if cell.get("vMerge") in {"1", "true"}:
                    text = text or above.get(column, "")
                else:
                    above[column] = repeated(text)
                texts.append(text)
            yield texts
