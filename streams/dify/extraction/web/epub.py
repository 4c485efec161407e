"""Reads EPUB: the chapters in reading order, each as a part."""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote
from zipfile import ZipFile

from lxml import etree

from streams.dify.errors import ExtractionError
from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.result import Extracted, Part
from streams.dify.extraction.web.xhtml import xhtml_text

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_CHAPTERS = ("html", "svg", "x-dtbook")
"""What the media type of a chapter contains. Others have no text, or text that only some readers show."""


def epub_text(content: bytes) -> Extracted:
    """Return a part for each chapter with text. The title of the book stands before the first.

    Raises ExtractionError.
    """
    with open_archive(content) as book:
        try:
            package_path = _attribute(next(_tags(_parse(book, _CONTAINER), "rootfile")), "full-path")
            package = _parse(book, package_path)
            # A spine may name a chapter many times. It is read once.
            chapters = list(dict.fromkeys(_chapters(package, posixpath.dirname(package_path))))
            if _encrypted_files(book) & set(chapters):
                message = "the book is encrypted (DRM): it cannot be read"
                raise ExtractionError(message)
            texts = list(within_characters(xhtml_text(book.read(chapter)) for chapter in chapters))
        except (KeyError, StopIteration, etree.XMLSyntaxError) as error:
            message = f"the file is not an EPUB that can be read: {str(error) or type(error).__name__}"
            raise ExtractionError(message) from error
    title = next((" ".join("".join(map(str, tag.itertext())).split()) for tag in _tags(package, "title")), "")
    texts = [text for text in texts if text]
    texts[:1] = ["\n\n".join(filter(None, [title, *texts[:1]]))]
    return Extracted(tuple(Part(text, {"part": number}) for number, text in enumerate(texts, start=1) if text))


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
        item = _readable(items, _attribute(reference, "idref"))
        if item is not None:
            yield posixpath.normpath(posixpath.join(folder, unquote(_attribute(item, "href"))))


def _readable(items: dict[str, etree._Element], name: str) -> etree._Element | None:
    """Return an item of the manifest, or the first of its fallbacks that is a chapter, else XML; None: none is."""
    choices: dict[str, etree._Element] = {}
    while name and name not in choices:
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
