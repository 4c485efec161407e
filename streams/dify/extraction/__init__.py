"""Extracts text and images from the bytes of a file. There is one module per family of formats.

The readers run in the killable processes. They use no database, no storage and no network. Their libraries take a
second to import, and commands and workers do not need them. So a module is imported with the first file of its format,
or by `load_readers`.
"""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import cast

from streams.dify.errors import ExtractionError, NotBuiltYetError, RefusedError
from streams.dify.extraction.bounds import MAX_CHARACTERS
from streams.dify.extraction.completeness.check import missing_text_warning
from streams.dify.extraction.result import Extracted, Image, Part

__all__ = ["EXTENSIONS", "IMAGE_EXTENSIONS", "Extracted", "Image", "Part", "extract", "load_readers"]

_TEXTS = {
    "csv": ("tables.delimited", "csv_content"),
    "eml": ("mail.message", "mail_text"),
    "epub": ("web.epub", "epub_text"),
    "htm": ("web.page", "html_text"),
    "html": ("web.page", "html_text"),
    "markdown": ("markdown", "markdown_text"),
    "md": ("markdown", "markdown_text"),
    "mdx": ("markdown", "markdown_text"),
    "pdf": ("pdf.document", "pdf_text"),
    "pptx": ("slides", "slides_content"),
    "properties": ("plain", "properties_text"),
    "txt": ("plain", "plain_text"),
    "vtt": ("webvtt", "webvtt_text"),
    "xls": ("tables.xls", "xls_content"),
    "xlsx": ("tables.xlsx", "xlsx_content"),
    "xml": ("plain", "xml_text"),
}
"""Formats with text only: the module of this package, and its function."""
_CONTENTS = {"docx": ("word.document", "word_content")}
"""Formats with text and images. The images belong to the document of the given id."""
EXTENSIONS = tuple(sorted({*_TEXTS, *_CONTENTS}))
IMAGE_EXTENSIONS = frozenset(_CONTENTS)
"""The extensions of formats with images."""


def load_readers() -> None:
    """Import the modules of all formats, for processes that are forked from this one."""
    for place in (*_TEXTS.values(), *_CONTENTS.values()):
        _function(place)


def extract(content: bytes, extension: str, document_id: str) -> Extracted:
    """Extract the text and images of a document's file.

    Args:
        content: the bytes of the file.
        extension: with or without the dot, in any case.
        document_id: the document that images belong to.

    Raises:
        ExtractionError: the file has no text, or is damaged.
        NotBuiltYetError: the file type is not supported.
    """
    kind = extension.lower().removeprefix(".")
    if kind not in EXTENSIONS:
        message = f"files of type {kind or 'unknown'} are not supported yet; supported: {', '.join(EXTENSIONS)}"
        raise NotBuiltYetError(message)
    if not content:
        message = "the file is empty"
        raise ExtractionError(message)
    found = _read(kind, content, document_id)
    parts = tuple(part for part in (_cleaned(part) for part in found.parts) if part.text)
    if sum(len(part.text) for part in parts) > MAX_CHARACTERS:
        message = f"the file has more than {MAX_CHARACTERS:,} characters of text; split it into several files"
        raise ExtractionError(message)
    if not parts:
        message = "the file contains no text"
        raise ExtractionError(message)
    missing = missing_text_warning(content, kind, parts)
    return replace(found, parts=parts, warnings=(*found.warnings, missing) if missing else found.warnings)


def _read(kind: str, content: bytes, document_id: str) -> Extracted:
    reader = _function(_CONTENTS.get(kind) or _TEXTS[kind])
    try:
        if kind in _CONTENTS:
            return cast("Callable[[bytes, str], Extracted]", reader)(content, document_id)
        found = cast("Callable[[bytes], str | Extracted]", reader)(content)
        return Extracted((Part(found),)) if isinstance(found, str) else found
    except (RefusedError, MemoryError):
        raise
    except Exception as error:
        # The result depends on the bytes only. So any error of a library means that the file is damaged.
        message = f"the {kind.upper()} file is damaged: {str(error) or type(error).__name__}"[:500]
        raise ExtractionError(message) from error


def _function(place: tuple[str, str]) -> object:
    module, name = place
    return getattr(import_module(f"{__name__}.{module}"), name)


def _cleaned(part: Part) -> Part:
    return replace(part, text=_without_invalid_characters(part.text).strip())


def _without_invalid_characters(text: str) -> str:
    """Remove characters that the database cannot store: NUL, and halves of surrogate pairs from broken fonts."""
    return text.replace("\x00", "").encode(errors="replace").decode()
