"""Reads Word (docx): everything that is in the body, in order, in the platform's form."""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from lxml import etree

from streams.dify.errors import RefusedError
from streams.dify.extraction import extract
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.office.drawing import RelatedDrawings, paragraph_text
from streams.dify.extraction.office.markup import attribute, child, name_of, unwrapped
from streams.dify.extraction.office.package import OfficePackage, parse_xml
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.word.images import DocumentImages
from streams.dify.extraction.word.notes import Note, NoteReader
from streams.dify.extraction.word.paragraph import SKIPPED, ParagraphReader, plain_text_of
from streams.dify.extraction.word.tables import nested_table_text, table_lines

_CONTAINERS = frozenset({"w:sdt", "w:sdtContent", "w:customXml", "w:smartTag", "w:ins", "w:moveTo"})
"""What may stand around paragraphs and tables."""
_WORD = "docx"
_CHUNKS = {"htm": "html", "html": "html", "xhtml": "html", "txt": "txt"}
"""The documents inside of a Word file that are read, and the format of each extension."""
_MAX_DEPTH = 20
"""Tables and text boxes inside of each other. What is deeper is read as plain text."""


def word_content(content: bytes, document_id: str) -> Extracted:
    """Return one line per paragraph, tables as Markdown, images as links to upload files. Raises ExtractionError."""
    package = OfficePackage(content)
    main = package.main_part()
    images = DocumentImages(package, document_id)
    body = child(parse_xml(package.read(main) or b""), "w:body")
    if body is None:
        message = "it has no body"
        raise ValueError(message)
    reader = _PartReader(package, main, images, NoteReader(package, main))
    text = "\n".join(within_characters(reader.lines(body)))
    return Extracted((Part(text),), images.kept(), reader.warnings())


class _PartReader:
    """Reads the paragraphs and tables of one part of the file: the document, or its notes."""

    def __init__(
        self, package: OfficePackage, part: str, images: DocumentImages, notes: NoteReader, *, is_inner: bool = False
    ) -> None:
        self._is_inner = is_inner
        """Whether the file is inside of another one."""
        self._package = package
        self._part = part
        self._images = images
        self._notes = notes
        self._drawings = RelatedDrawings(package)
        self._paragraphs = ParagraphReader(package, part, images, notes)
        self._new_notes: deque[Note] = deque()
        """The notes of what has been read, which are not read yet."""
        self._depth = 0
        self._chunks: dict[str, bool] = {}
        """The alternative chunks, and whether they are in the text."""

    def warnings(self) -> tuple[str, ...]:
        """Return what of the part is not in the text."""
        left_out = sum(not is_read for is_read in self._chunks.values())
        return (f"{left_out} documents inside of the Word file (alternative chunks) are not read",) if left_out else ()

    def lines(self, body: etree._Element) -> Iterator[str]:
        """Yield the lines of the body. The notes of a paragraph or table follow it."""
        return self._blocks(body, with_notes=True)

    def _blocks(self, container: etree._Element, *, with_notes: bool = False) -> Iterator[str]:
        before = ""
        for block in unwrapped(container, _CONTAINERS.__contains__):
            name = name_of(block.tag)
            if name in SKIPPED:
                continue
            if name == "w:tbl":
                yield from self._table(block)
            elif name == "w:altChunk":
                yield from self._chunk(block)
            else:
                found = self._paragraphs.read(block)
                self._new_notes += found.notes
                before += found.text
                if not found.runs_on:
                    yield before.strip()
                    before = ""
                for box in found.boxes:
                    yield from self._box(box)
            while with_notes and self._new_notes:
                yield self._note_line(self._new_notes.popleft())
        if before:
            yield before.strip()

    def _note_line(self, note: Note) -> str:
        reader = _PartReader(self._package, note.part, self._images, self._notes)
        # A chart is read once, also if all notes show it.
        reader._drawings = self._drawings
        text = " ".join(filter(None, reader._blocks(note.content)))
        self._new_notes += reader._new_notes
        return f"{note.mark}: {text}"

    def _chunk(self, chunk: etree._Element) -> Iterator[str]:
        """Yield the text of a document that Word would insert here, once, if it is of a type that is read."""
        related = self._package.relationships(self._part).get(attribute(chunk, "r:id") or "")
        name = "" if related is None or related.external else related.target
        if name in self._chunks:
            return
        extension = name.rpartition(".")[2].lower()
        content = self._package.read(name) if extension in _CHUNKS or extension == _WORD else None
        self._chunks[name] = False
        if content is not None:
            with suppress(RefusedError, ValueError, etree.XMLSyntaxError):
                lines = self._inner(content) if extension == _WORD else [extract(content, _CHUNKS[extension], "").text]
                self._chunks[name] = lines is not None
                yield from lines or ()

    def _inner(self, content: bytes) -> list[str] | None:
        """Return the lines of a Word file inside of this one; None: it is inside of another one itself."""
        if self._is_inner:
            return None
        package = OfficePackage(content)
        main = package.main_part()
        images = self._images.within(package)
        body = child(parse_xml(package.read(main) or b""), "w:body")
        reader = _PartReader(package, main, images, NoteReader(package, main), is_inner=True)
        lines = list(within_characters(reader.lines(body))) if body is not None else []
        self._images.add(images.kept())
        self._chunks |= {f"{len(self._chunks)}/{name}": is_read for name, is_read in reader._chunks.items()}
        return lines

    def _table(self, table: etree._Element) -> Iterator[str]:
        if self._depth:
            yield nested_table_text(table, self._cell_text)
        else:
            yield from table_lines(table, self._cell_text)

    def _cell_text(self, cell: etree._Element) -> str:
        return self._nested(cell, " ").replace("\n", " ")

    def _box(self, box: etree._Element) -> Iterator[str]:
        name = name_of(box.tag)
        if name == "w:txbxContent":
            yield self._nested(box, "\n")
        elif name == "a:p":
            yield paragraph_text(box)
        elif name == "v:textpath":
            yield box.get("string", "").strip()
        else:
            yield from self._drawings.lines(self._part, box)

    def _nested(self, container: etree._Element, separator: str) -> str:
        """Return the text of a cell or a text box."""
        if self._depth >= _MAX_DEPTH:
            return plain_text_of(container)
        self._depth += 1
        try:
            return separator.join(filter(None, self._blocks(container)))
        finally:
            self._depth -= 1
