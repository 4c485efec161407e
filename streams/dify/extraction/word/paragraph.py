"""Reads the text inside of a paragraph of a Word file: runs, changes, controls, links, fields, ruby, images."""

import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from lxml import etree

from streams.dify.extraction.office.equations import sign_after, sign_before
from streams.dify.extraction.office.markup import attribute, child, name_of, read_branch
from streams.dify.extraction.office.package import OfficePackage
from streams.dify.extraction.word.fields import FieldReader, link_address
from streams.dify.extraction.word.form_fields import form_field_text, symbol_text
from streams.dify.extraction.word.images import DocumentImages
from streams.dify.extraction.word.notes import Note, NoteReader

SKIPPED = frozenset(
    {
        # Properties.
        *("w:pPr", "w:rPr", "w:sdtPr", "w:sdtEndPr", "w:rubyPr", "w:tblPr", "w:tblGrid", "w:trPr", "w:tcPr"),
        *("w:sectPr", "w:customXmlPr", "w:smartTagPr", "w:fldData", "w:ffData", "w:tblPrEx", "w:hyperlinkPr"),
        # What a change has taken away, and the place that a text was moved from.
        *("w:del", "w:moveFrom", "w:delText", "w:delInstrText"),
    }
)
"""Elements that show nothing."""
_CHARACTERS = {"w:tab": "\t", "w:ptab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-"}
"""What these show. A break of a line, a column or a page ends a line."""
_TEXTS = frozenset({"w:t", "m:t"})
_BOXES = frozenset({"w:txbxContent", "a:p", "c:chart", "dgm:relIds", "v:textpath"})
_LINKS = frozenset({"w:hyperlink", "w:fldSimple"})
_PRIVATE = range(0xE000, 0xF900)
"""The characters of fonts of symbols: no text."""


class Paragraph(NamedTuple):
    """What a paragraph shows."""

    text: str
    """With the blanks at its ends: the next paragraph may continue it."""
    boxes: list[etree._Element]
    """Its text boxes, charts, diagrams and WordArt. They float beside the text."""
    notes: list[Note]
    """The notes that it is the first to refer to."""
    runs_on: bool
    """Whether its end is deleted: the next paragraph continues it."""


class ParagraphReader:
    """Reads the paragraphs of one part of the file in order."""

    def __init__(self, package: OfficePackage, part: str, images: DocumentImages, notes: NoteReader) -> None:
        self._related = package.relationships(part)
        self._images = images
        self._notes = notes
        self._fields = FieldReader()
        self._boxes: list[etree._Element] = []
        self._new_notes: list[Note] = []
        self._starts: Mapping[str, Callable[[etree._Element], None]] = {
            "a:blip": self._image,
            "v:imagedata": self._image,
            "w:endnoteReference": self._note,
            "w:fldChar": self._field_character,
            "w:footnoteReference": self._note,
            "w:instrText": self._field_code,
            "w:ruby": self._ruby,
            "w:sym": self._symbol,
        }

    def read(self, element: etree._Element) -> Paragraph:
        """Return what an element shows: a ``w:p``, or what stands in the place of one."""
        self._boxes, self._new_notes = [], []
        walk = etree.iterwalk(element, events=("start", "end"))
        branches: list[etree._Element | None] = []
        for event, one in walk:
            name = name_of(one.tag)
            if event == "end":
                self._end(name, one)
            elif name == "mc:AlternateContent":
                branches.append(read_branch(one))
            elif (
                name in SKIPPED
                or (name in {"mc:Choice", "mc:Fallback"} and not any(one is branch for branch in branches[-1:]))
                or self._start(name, one)
            ):
                walk.skip_subtree()
            if event == "end" and name == "mc:AlternateContent":
                branches.pop()
        text = self._fields.end_paragraph()
        return Paragraph(text, self._boxes, self._new_notes, _runs_on(element))

    def _start(self, name: str, element: etree._Element) -> bool:
        """Read the start of an element. Return whether all of it is read."""
        if name in _TEXTS:
            self._fields.add(element.text or "")
        elif name in _CHARACTERS:
            self._fields.add(_CHARACTERS[name])
        elif name.startswith("m:"):
            self._fields.add(sign_before(element))
        elif name in _BOXES:
            self._boxes.append(element)
        elif name in _LINKS:
            self._fields.begin_link(self._address(name, element))
        elif name in self._starts:
            self._starts[name](element)
        return name in _BOXES or name == "w:ruby"

    def _end(self, name: str, element: etree._Element) -> None:
        if name in _LINKS:
            self._fields.end()
        elif name.startswith("m:"):
            self._fields.add(sign_after(element))

    def _symbol(self, element: etree._Element) -> None:
        self._fields.add(_symbol_text(attribute(element, "w:font") or "", attribute(element, "w:char") or ""))

    def _ruby(self, element: etree._Element) -> None:
        self._fields.add_ruby(plain_text_of(child(element, "w:rubyBase")), plain_text_of(child(element, "w:rt")))

    def _field_code(self, element: etree._Element) -> None:
        self._fields.add_code(element.text or "")

    def _field_character(self, element: etree._Element) -> None:
        kind = attribute(element, "w:fldCharType")
        if kind == "begin":
            self._fields.begin(form_field_text(element))
        elif kind == "separate":
            self._fields.separate()
        elif kind == "end":
            self._fields.end()

    def _address(self, name: str, element: etree._Element) -> str:
        if name == "w:fldSimple":
            return link_address(attribute(element, "w:instr") or "")
        related = self._related.get(attribute(element, "r:id") or "")
        anchor = attribute(element, "w:anchor")
        if related is None or not related.external:
            return ""
        return f"{related.target}#{anchor}" if anchor else related.target

    def _image(self, element: etree._Element) -> None:
        # A linked picture is not part of the file. A URL in a document is never fetched.
        related = self._related.get(attribute(element, "r:embed") or attribute(element, "r:id") or "")
        if related is not None and not related.external and self._fields.is_shown:
            self._fields.add(self._images.link(related.target))

    def _note(self, element: etree._Element) -> None:
        kind = "footnote" if name_of(element.tag) == "w:footnoteReference" else "endnote"
        note, is_first = self._notes.refer(kind, attribute(element, "w:id") or "")
        if note is not None:
            self._fields.add(note.mark)
            if is_first:
                self._new_notes.append(note)


def plain_text_of(element: etree._Element | None) -> str:
    """Return the texts below an element as they are; empty: there is no element."""
    texts = element.iter(etree.Element) if element is not None else iter(())
    return "".join(one.text or "" for one in texts if name_of(one.tag) in _TEXTS)


def _symbol_text(font: str, code: str) -> str:
    try:
        number = int(code, 16)
    except ValueError:
        return ""
    if not 0 < number <= sys.maxunicode:
        return ""
    return symbol_text(font, number) or ("" if number in _PRIVATE else chr(number))


def _runs_on(paragraph: etree._Element) -> bool:
    """Return whether a change has deleted the end of the paragraph, or moved it away."""
    mark = child(paragraph, "w:pPr", "w:rPr")
    return mark is not None and any(name_of(one.tag) in {"w:del", "w:moveFrom"} for one in mark)
