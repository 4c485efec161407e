"""Reads EPUB: the chapters in reading order, each as a part."""

import posixpath
import zlib
from collections.abc import Iterator
from urllib.parse import unquote
from zipfile import BadZipFile, ZipFile

from lxml import etree

from streams.dify.errors import ExtractionError
from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.web.xhtml import xhtml_text

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_DAMAGED = (BadZipFile, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error)
"""What a file of the archive raises that is absent or damaged."""
_CHAPTERS = ("html", "svg", "x-dtbook")
"""What the media type of a chapter contains. Others have no text, or text that only some readers show."""


def epub_text(content: bytes) -> Extracted:
    """Return a part for each chapter with text. The title of the book stands before the first.

    A chapter that is absent or damaged is left out, with a warning. Raises ExtractionError.
    """
    with open_archive(content) as book:
        try:
            package_path = _attribute(next(_tags(_parse(book, _CONTAINER), "rootfile")), "full-path")
            package = _parse(book, package_path)
        except (KeyError, StopIteration, etree.XMLSyntaxError) as error:
            raise _unreadable(str(error) or type(error).__name__) from error
        # A spine may name a chapter many times. It is read once.
        chapters = list(dict.fromkeys(_chapters(package, posixpath.dirname(package_path))))
        reader = _ChapterReader(book)
        if _encrypted_files(book) & set(map(reader.name, chapters)):
            message = "the book is encrypted (DRM): it cannot be read"
            raise ExtractionError(message)
        texts = [text for text in within_characters(map(reader.text, chapters)) if text]
    if reader.unread and reader.unread == len(chapters):
        raise _unreadable("none of its chapters is in the file")
    title = next((" ".join("".join(map(str, tag.itertext())).split()) for tag in _tags(package, "title")), "")
    texts[:1] = ["\n\n".join(filter(None, [title, *texts[:1]]))]
    parts = tuple(Part(text, {"part": number}) for number, text in enumerate(texts, start=1) if text)
    missing = f"{reader.unread} of {len(chapters)} chapters are absent or damaged"
    return Extracted(parts, warnings=(missing,) if reader.unread else ())


def _unreadable(reason: str) -> ExtractionError:
    return ExtractionError(f"the file is not an EPUB that can be read: {reason}")


class _ChapterReader:
    """Reads chapters, and counts those that cannot be read."""

    def __init__(self, book: ZipFile) -> None:
        self._book = book
        self._names = {name.casefold(): name for name in reversed(book.namelist())}
        self._exact = frozenset(book.namelist())
        self.unread = 0

    def name(self, chapter: str) -> str:
        """Return the name of a chapter in the archive. Some programs write other cases into the list of chapters."""
        return chapter if chapter in self._exact else self._names.get(chapter.casefold(), chapter)

    def text(self, chapter: str) -> str:
        """Return the text of a chapter; empty: it cannot be read. Raises ExtractionError for an uncertain encoding."""
        try:
            content = self._book.read(self.name(chapter))
        except _DAMAGED:
            self.unread += 1
            return ""
        return xhtml_text(content)


def _parse(book: ZipFile, name: str) -> etree._Element:
    """Return the root of an XML file. One with faults is read as far as it goes."""
    parser = etree.XMLParser(recover=True, resolve_entities=False, no_network=True, load_dtd=False)
    root = etree.fromstring(book.read(name).strip(), parser)
    if root is None:
        raise KeyError(name)
    return root


def _tags(root: etree._Element, name: str) -> Iterator[etree._Element]:
    """Yield the tags of a name, whatever their namespace or its prefix."""
    for tag in root.iter(etree.Element):
        if str(tag.tag).replace("}", ":").rpartition(":")[2].lower() == name:
            yield tag


def _attribute(tag: etree._Element, name: str) -> str:
    """Return the value of an attribute. Raises KeyError if the tag does not have it."""
    return str(tag.attrib[name])


def _chapters(package: etree._Element, folder: str) -> Iterator[str]:
    """Yield the names of the chapters in the archive, in the order of the spine."""
    items = {str(item.get("id")): item for item in _tags(package, "item")}
    for reference in _tags(package, "itemref"):
        name = str(reference.get("idref"))
        item = _readable(items, name)
        if item is not None:
            place = str(item.get("href", "")).partition("#")[0]
            yield posixpath.normpath(posixpath.join(folder, unquote(place)))
        elif name not in items:
            yield name  # no file has the name: the chapter counts as absent


def _readable(items: dict[str, etree._Element], name: str) -> etree._Element | None:
    """Return an item of the manifest, or the first of its fallbacks that is a chapter, else XML; None: none is."""
    choices: dict[str, etree._Element] = {}
    while name in items and name not in choices:
        choices[name] = items[name]
        name = str(items[name].get("fallback", ""))
    types = [(str(item.get("media-type", "")), item) for item in choices.values()]
    chapters = (item for media_type, item in types if any(kind in media_type for kind in _CHAPTERS))
    return next(chapters, next((item for media_type, item in types if media_type.endswith("/xml")), None))


def _encrypted_files(book: ZipFile) -> set[str]:
    """Return the files that DRM encrypts. Fonts often are encrypted, which does not matter."""
    if _ENCRYPTION not in book.namelist():
        return set()
    references = _tags(_parse(book, _ENCRYPTION), "cipherreference")
    return {unquote(str(reference.get("URI") or reference.get("uri") or "")) for reference in references}
