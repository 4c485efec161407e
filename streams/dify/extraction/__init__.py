"""A file's bytes become its text and its images: one module a family of formats, one table of them all.

The readers run in the killable processes: none touches a database, the storage or the network. Their libraries take a
second to load, which a command or a worker has no use for: a format's module is loaded when a first file of its comes,
or by `load_readers`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import cast

from streams.dify.errors import ExtractionError, NotBuiltYetError, RefusedError
from streams.dify.extraction.found import Extracted, Image

__all__ = ["EXTENSIONS", "WITH_IMAGES", "Extracted", "Image", "extract", "load_readers"]

_TEXTS = {
    "csv": ("table", "csv_text"),
    "eml": ("mail", "mail_text"),
    "epub": ("epub", "epub_text"),
    "htm": ("page", "html_text"),
    "html": ("page", "html_text"),
    "markdown": ("markdown", "markdown_text"),
    "md": ("markdown", "markdown_text"),
    "mdx": ("markdown", "markdown_text"),
    "pdf": ("pdf", "pdf_text"),
    "pptx": ("slides", "slides_text"),
    "txt": ("plain", "plain_text"),
    "xls": ("table", "xls_text"),
    "xlsx": ("table", "xlsx_text"),
}
"""Formats that give text alone: the module here, and its function."""
_CONTENTS = {"docx": ("word", "word_content")}
"""Formats that give images too, which belong to the document of the given id."""
EXTENSIONS = tuple(sorted({*_TEXTS, *_CONTENTS}))
WITH_IMAGES = frozenset(_CONTENTS)
"""The extensions of those."""


def load_readers() -> None:
    """Load every format's module, for processes that are forked from this one."""
    for place in (*_TEXTS.values(), *_CONTENTS.values()):
        _function(place)


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
    reader = _function(_CONTENTS.get(kind) or _TEXTS[kind])
    try:
        if kind in _CONTENTS:
            return cast("Callable[[bytes, str], Extracted]", reader)(content, document_id)
        return Extracted(cast("Callable[[bytes], str]", reader)(content))
    except (RefusedError, MemoryError):
        raise
    except Exception as error:
        # Reading is a function of the bytes alone, so what a library raises, whatever it is, tells of a broken file.
        message = f"the {kind.upper()} file is damaged: {str(error) or type(error).__name__}"[:500]
        raise ExtractionError(message) from error


def _function(place: tuple[str, str]) -> object:
    module, name = place
    return getattr(import_module(f"{__name__}.{module}"), name)


def _storable(text: str) -> str:
    """Without what the database cannot hold: NUL, and halves of surrogate pairs that broken fonts give."""
    return text.replace("\x00", "").encode(errors="replace").decode()
