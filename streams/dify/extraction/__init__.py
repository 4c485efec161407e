"""A file's bytes become its text and its images: one module a family of formats, one table of them all.

The readers run in the killable processes: none touches a database, the storage or the network.
"""

from collections.abc import Callable

from streams.dify.extraction.epub import epub_text
from streams.dify.extraction.found import Extracted, Image
from streams.dify.extraction.mail import mail_text
from streams.dify.extraction.markdown import markdown_text
from streams.dify.extraction.page import html_text
from streams.dify.extraction.pdf import pdf_text
from streams.dify.extraction.plain import plain_text
from streams.dify.extraction.slides import slides_text
from streams.dify.extraction.table import csv_text, xls_text, xlsx_text
from streams.dify.extraction.word import word_content
from streams.dify.refusals import ExtractionError, NotBuiltYetError, RefusedError

__all__ = ["EXTENSIONS", "WITH_IMAGES", "Extracted", "Image", "extract"]

_TEXTS: dict[str, Callable[[bytes], str]] = {
    "csv": csv_text,
    "eml": mail_text,
    "epub": epub_text,
    "htm": html_text,
    "html": html_text,
    "markdown": markdown_text,
    "md": markdown_text,
    "mdx": markdown_text,
    "pdf": pdf_text,
    "pptx": slides_text,
    "txt": plain_text,
    "xls": xls_text,
    "xlsx": xlsx_text,
}
"""Formats that give text alone."""
_CONTENTS: dict[str, Callable[[bytes, str], Extracted]] = {"docx": word_content}
"""Formats that give images too, which belong to the document of the given id."""
EXTENSIONS = tuple(sorted({*_TEXTS, *_CONTENTS}))
WITH_IMAGES = frozenset(_CONTENTS)
"""The extensions of those."""


def extract(content: bytes, extension: str, document_id: str) -> Extracted:
    """The text and images of a document's file; the extension is with or without its dot, in any case.

    Raises ExtractionError where there is no text to be had, NotBuiltYetError for other kinds of files.
    """
    kind = extension.lower().removeprefix(".")
    if kind not in EXTENSIONS:
        message = f"files of type {kind or 'unknown'} are not built yet; there are {', '.join(EXTENSIONS)}"
        raise NotBuiltYetError(message)
    if not content:
        message = "the file is empty"
        raise ExtractionError(message)
    found = _read(kind, content, document_id)
    text = _storable(found.text).strip()
    if not text:
        message = "the file holds no text"
        raise ExtractionError(message)
    return Extracted(text, found.images)


def _read(kind: str, content: bytes, document_id: str) -> Extracted:
    try:
        if kind in _CONTENTS:
            return _CONTENTS[kind](content, document_id)
        return Extracted(_TEXTS[kind](content))
    except (RefusedError, MemoryError):
        raise
    except Exception as error:
        # Reading is a function of the bytes alone, so what a library raises, whatever it is, tells of a broken file.
        message = f"the {kind.upper()} file is damaged: {str(error) or type(error).__name__}"[:500]
        raise ExtractionError(message) from error


def _storable(text: str) -> str:
    """Without what the database cannot hold: NUL, and halves of surrogate pairs that broken fonts give."""
    return text.replace("\x00", "").encode(errors="replace").decode()
