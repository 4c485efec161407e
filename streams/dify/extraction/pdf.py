"""Reads PDF: the text layer, page by page. Scans have no text layer; there is no text recognition."""

from collections.abc import Iterator
from io import BytesIO

from pypdf import PageObject, PdfReader
from pypdf.errors import DependencyError, PdfReadError

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import within_characters


def pdf_text(content: bytes) -> str:
    """Return the pages with blank lines between them. Raises ExtractionError.

    An encrypted PDF that opens without a password is read.
    """
    try:
        reader = PdfReader(BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            message = "the PDF is encrypted: save it without a password"
            raise ExtractionError(message)
        text = "\n\n".join(within_characters(page.extract_text() for page in _pages(reader)))
    except DependencyError as error:
        message = f"the PDF is encrypted in a way that cannot be read: {error}"
        raise ExtractionError(message) from error
    except PdfReadError as error:
        message = f"the PDF is damaged: {error}"
        raise ExtractionError(message) from error
    if not text.strip():
        message = "the PDF contains no text; a scan needs text recognition first"
        raise ExtractionError(message)
    return text


def _pages(reader: PdfReader) -> Iterator[PageObject]:
    """Yield each page once. The page tree may name the same page many times."""
    seen: set[tuple[int, int]] = set()
    for page in reader.pages:
        reference = page.indirect_reference
        if reference is not None:
            place = (reference.idnum, reference.generation)
            if place in seen:
                continue
            seen.add(place)
        yield page
