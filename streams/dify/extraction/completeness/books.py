"""Yields the texts of the chapters of an EPUB: what its spine names."""

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from urllib.parse import unquote
from xml.parsers.expat import ExpatError, ParserCreate

from streams.dify.errors import ExtractionError
from streams.dify.extraction.completeness.containers import MOST_BYTES, UNCOUNTABLE
from streams.dify.extraction.completeness.texts import page_texts

_CONTAINER = "META-INF/container.xml"


def book_texts(content: bytes) -> Iterator[str]:
    """Yield the visible texts of the chapters. A spine may name a chapter many times: it is counted once."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            package = _attributes(archive, _CONTAINER, "rootfile")[0]["full-path"]
            items = {item["id"]: item for item in _attributes(archive, package, "item")}
            spine = dict.fromkeys(one["idref"] for one in _attributes(archive, package, "itemref"))
            names = frozenset(archive.namelist())
            for item in (items[idref] for idref in spine if idref in items):
                if "html" in item.get("media-type", ""):
                    path = posixpath.join(posixpath.dirname(package), unquote(item["href"]))
                    name = posixpath.normpath(path.partition("#")[0])
                    if name in names:  # a chapter that is absent has no words
                        yield from page_texts(_part(archive, name))
    except (
        *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError),
        *(ExpatError, ValueError, KeyError, IndexError),
    ) as error:
        raise ExtractionError(UNCOUNTABLE) from error


def _attributes(archive: zipfile.ZipFile, name: str, tag: str) -> list[dict[str, str]]:
    """Return the attributes of each tag of a part."""
    found: list[dict[str, str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == tag:
            found.append(attributes)

    parser = ParserCreate()
    parser.StartElementHandler = start
    parser.Parse(_part(archive, name), True)  # noqa: FBT003 - the library takes it by place
    return found


def _part(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MOST_BYTES:
        message = f"{name} is too large"
        raise ExtractionError(message)
    return archive.read(name)
