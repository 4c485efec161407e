"""Reads a PDF page by page: the text layer and the form. Scans have no text; there is no text recognition."""

import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from threading import Lock

import pypdfium2
import pypdfium2.raw as pdfium

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.pdf.fallback_font import use_fallback_font
from streams.dify.extraction.pdf.form_fields import FormFields
from streams.dify.extraction.pdf.glyphs import Glyphs
from streams.dify.extraction.pdf.page_text import page_text
from streams.dify.extraction.result import Extracted, Part

_PDFIUM = Lock()
"""PDFium is not safe for threads: calls of two at once damage its memory. So a process reads one PDF at a time."""
_LISTED = 10
"""How many ranges of pages a warning lists."""
_OBJECTS = 100
"""How many objects of a page without text are searched for an image."""
_PICTURES = frozenset({pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_FORM})


def pdf_text(content: bytes) -> Extracted:
    """Return one part per page with text. Raises ExtractionError.

    An encrypted PDF that opens without a password is read. A page that cannot be read is left out, with a warning.
    """
    with _PDFIUM, closing(_opened(content)) as document, FormFields(document) as form:
        reader = _PageReader(document, form)
        parts = tuple(reader.parts())
    if not parts:
        message = (
            f"the PDF is damaged: {_pages(reader.damaged)} cannot be read"
            if reader.damaged
            else "the PDF contains no text; a scan needs text recognition first"
        )
        raise ExtractionError(message)
    warnings = [*reader.glyphs.warnings()]
    if form.kind == pdfium.FORMTYPE_XFA_FULL:
        warnings.append("the PDF is an XFA form: what its pages show in Acrobat is not read")
    if not form.whole:
        warnings.append("the form has too many fields: those of some pages are not read")
    if reader.damaged:
        warnings.append(f"{_pages(reader.damaged)} cannot be read: the PDF is damaged there")
    if reader.pictures:
        warnings.append(f"{_pages(reader.pictures)} contain images and no text: a scan needs text recognition first")
    return Extracted(parts, warnings=tuple(warnings))


def _opened(content: bytes) -> pypdfium2.PdfDocument:
    use_fallback_font()
    try:
        return pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        reasons = {
            pdfium.FPDF_ERR_PASSWORD: "the PDF is encrypted: save it without a password",
            pdfium.FPDF_ERR_SECURITY: "the PDF is encrypted in a way that cannot be read: save it without encryption",
        }
        message = reasons.get(error.err_code, "the PDF is damaged, or the file is no PDF")
        raise ExtractionError(message) from error


class _PageReader:
    """Reads each page of a document once, and notes what cannot be read."""

    def __init__(self, document: pypdfium2.PdfDocument, form: FormFields) -> None:
        self._document = document
        self._form = form
        self.glyphs = Glyphs()
        self.damaged: list[int] = []
        """The numbers of the pages that cannot be read."""
        self.pictures: list[int] = []
        """The numbers of the pages with images and without text."""
        # The page tree may name the same page many times, and PDFium does not tell. But it keeps one dictionary per
        # page, so a page that was read gets a size that no page has. 2 ** 24: as a 32-bit float it stays the same.
        self._read_size = float(random.randrange(1 << 20, 1 << 24))  # noqa: S311 - no secret

    def parts(self) -> Iterator[Part]:
        """Yield the pages with text. Raises ExtractionError."""
        numbers: list[int] = []
        for text in within_characters(self._texts(numbers)):
            if text.strip():
                yield Part(text, {"page": numbers[-1]})

    def _texts(self, numbers: list[int]) -> Iterator[str]:
        """Yield the text of each page, and append its number to `numbers` before."""
        for index in range(len(self._document)):
            number = index + 1
            try:
                if self._document.get_page_size(index) == (self._read_size, self._read_size):
                    continue
                with closing(self._document[index]) as page, closing(page.get_textpage()) as text_page:
                    text = page_text(text_page)
                    self.glyphs.count(text_page, text)
                    filled = self._form.lines(page)
                    if not text.strip() and not filled and _has_picture(page):
                        self.pictures.append(number)
                    self._mark(page)
            except pypdfium2.PdfiumError:
                self.damaged.append(number)
                continue
            numbers.append(number)
            yield "\n".join(filter(str.strip, (text.rstrip(), *filled))) if filled else text

    def _mark(self, page: pypdfium2.PdfPage) -> None:
        page.set_mediabox(0, 0, self._read_size, self._read_size)
        page.set_cropbox(0, 0, self._read_size, self._read_size)


def _has_picture(page: pypdfium2.PdfPage) -> bool:
    count = min(pdfium.FPDFPage_CountObjects(page), _OBJECTS)
    kinds = (pdfium.FPDFPageObj_GetType(pdfium.FPDFPage_GetObject(page, index)) for index in range(count))
    return any(kind in _PICTURES for kind in kinds)


def _pages(numbers: Iterable[int]) -> str:
    """Return the numbers of pages as ranges: ``pages 1, 4-6``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_LISTED]]
    more = f" and {len(ranges) - _LISTED} more ranges" if len(ranges) > _LISTED else ""
    return f"{'page' if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else 'pages'} {', '.join(shown)}{more}"
