"""Reads EPUB: the chapters in reading order."""

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote
from zipfile import ZipFile

from bs4 import BeautifulSoup

from streams.dify.errors import ExtractionError
from streams.dify.extraction.archive import open_archive
from streams.dify.extraction.bounds import within_characters
from streams.dify.extraction.web.page import html_text

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"


def epub_text(content: bytes) -> str:
    """Return the title and the chapters, with blank lines between them. Raises ExtractionError."""
    with open_archive(content) as book:
        try:
            package_path = str(_parse(book, _CONTAINER).find_all("rootfile")[0]["full-path"])
            package = _parse(book, package_path)
            # A spine may name a chapter many times. It is read once.
            chapters = list(dict.fromkeys(_chapters(package, posixpath.dirname(package_path))))
            if _encrypted_files(book) & set(chapters):
                message = "the book is encrypted (DRM): it cannot be read"
                raise ExtractionError(message)
            parts = list(within_characters(html_text(book.read(chapter)) for chapter in chapters))
        except (KeyError, IndexError) as error:
            message = f"the file is not an EPUB that can be read: {error}"
            raise ExtractionError(message) from error
    title = package.find("dc:title")
    return "\n\n".join(part for part in [title.get_text().strip() if title else "", *parts] if part)


def _parse(book: ZipFile, name: str) -> BeautifulSoup:
    return BeautifulSoup(book.read(name), "html.parser")


def _chapters(package: BeautifulSoup, folder: str) -> Iterator[str]:
    """Yield the names of the chapters in the archive, in the order of the spine."""
    items = {str(item["id"]): item for item in package.find_all("item")}
    for reference in package.find_all("itemref"):
        item = items[str(reference["idref"])]
        if "html" in str(item.get("media-type", "")):
            yield posixpath.normpath(posixpath.join(folder, unquote(str(item["href"]))))


def _encrypted_files(book: ZipFile) -> set[str]:
    """Return the files that DRM encrypts. Fonts often are encrypted, which does not matter."""
    if _ENCRYPTION not in book.namelist():
        return set()
    references = BeautifulSoup(book.read(_ENCRYPTION), "html.parser").find_all(
        lambda tag: tag.name.endswith("cipherreference")
    )
    return {unquote(str(reference.get("uri", ""))) for reference in references}
