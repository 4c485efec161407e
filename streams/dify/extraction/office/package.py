"""Reads the parts of an Office file and their relationships (ECMA-376 part 2, open packaging conventions)."""

import posixpath
import re
import zipfile
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Protocol

from lxml import etree

from streams.dify.errors import ExtractionError
from streams.dify.extraction.archive import open_archive

_RELATIONSHIP = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_FLAT = "{http://schemas.microsoft.com/office/2006/xmlPackage}"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError, RuntimeError)
"""What a damaged entry of an archive raises."""
_ADDRESS = re.compile(r"mailto:|\w+://")
_CHUNK = 1 << 20
MAX_RELATIONSHIPS = 100_000
"""Of one part."""


@dataclass(frozen=True, slots=True)
class Relationship:
    """What a part refers to by an id."""

    kind: str
    """The last word of its type, as ``hyperlink``. It is the same in the transitional and the strict format."""
    target: str
    """The name of a part of the file, or an address outside of it."""
    external: bool


class _Parts(Protocol):
    def names(self) -> list[str]: ...

    def size(self, name: str) -> int: ...

    def open(self, name: str) -> IO[bytes]: ...

    def read(self, name: str) -> bytes: ...


class OfficePackage:
    """An open Office file. A part that is absent or damaged is None, so that the others can be read."""

    def __init__(self, content: bytes) -> None:
        """Open the file. Raises ExtractionError if it is no archive, is encrypted or exceeds the limits."""
        self._parts: _Parts = _FlatParts(content) if _is_xml(content) else _ArchiveParts(content)
        self._names = {_key(name): name for name in self._parts.names()}
        self._related: dict[str, Mapping[str, Relationship]] = {}

    def main_part(self) -> str:
        """Return the name of the part that the file begins with. Raises ValueError if there is none."""
        for relationship in self.relationships("").values():
            if relationship.kind == "officeDocument" and _key(relationship.target) in self._names:
                return relationship.target
        message = "it has no main part"
        raise ValueError(message)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a part; None: the file has no such part, or it is damaged."""
        stored = self._names.get(_key(name))
        if stored is None:
            return None
        try:
            return self._parts.read(stored)
        except _DAMAGED:
            return None

    def size(self, name: str) -> int | None:
        """Return the number of bytes of a part without unpacking it; None: the file has no such part."""
        stored = self._names.get(_key(name))
        return None if stored is None else self._parts.size(stored)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a part in pieces, as they are unpacked; nothing if it is absent or damaged."""
        stored = self._names.get(_key(name))
        if stored is None:
            return
        try:
            with self._parts.open(stored) as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except _DAMAGED:
            return

    def repacked(self, changed: Callable[[str, bytes], bytes | None]) -> bytes:
        """Return an archive of the parts that can be read, without compression.

        `changed` returns the new bytes of a part by its name and bytes; None leaves the part out.
        """
        target = BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name in self._names.values():
                content = changed(name, self.read(name) or b"")
                if content is not None:
                    archive.writestr(_usual(name), content)
        return target.getvalue()

    def has_usual_names(self) -> bool:
        """Return whether the names of all parts are written as the standard says. `repacked` writes them so."""
        return all(name == _usual(name) for name in self._names.values())

    def xml(self, name: str) -> etree._Element | None:
        """Return the root element of a part; None: it is absent or not well-formed."""
        content = self.read(name)
        if content is None:
            return None
        try:
            return parse_xml(content)
        except etree.XMLSyntaxError:
            return None

    def relationships(self, name: str) -> Mapping[str, Relationship]:
        """Return the relationships of a part by their ids. The empty name is the file itself."""
        if name not in self._related:
            folder, file = posixpath.split(name)
            root = self.xml(posixpath.join(folder, "_rels", f"{file}.rels"))
            found = root.iter(_RELATIONSHIP) if root is not None else iter(())
            related = {}
            for element in found:
                external = element.get("TargetMode") == "External"
                target = element.get("Target", "")
                if not external:
                    target = posixpath.normpath(posixpath.join("/", folder, target.replace("\\", "/"))).lstrip("/")
                kind = element.get("Type", "").rsplit("/", 1)[-1]
                related[element.get("Id", "")] = Relationship(kind, target, external)
                if len(related) > MAX_RELATIONSHIPS:
                    break
            self._related[name] = related
        return self._related[name]

    def addresses(self, name: str) -> dict[str, str]:
        """Return the web and mail addresses that a part links to, by their ids. Other links are files beside it."""
        found = self.relationships(name).items()
        return {one: to.target for one, to in found if to.external and _ADDRESS.match(to.target)}

    def related(self, name: str, kind: str) -> list[str]:
        """Return the names of the parts that a part refers to with a kind of relationship, in order."""
        found = self.relationships(name).values()
        return [one.target for one in found if one.kind == kind and not one.external]


class _ArchiveParts:
    """The parts of a zip archive, the usual form."""

    def __init__(self, content: bytes) -> None:
        self._archive = open_archive(content)

    def names(self) -> list[str]:
        return self._archive.namelist()

    def size(self, name: str) -> int:
        return self._archive.getinfo(name).file_size

    def open(self, name: str) -> IO[bytes]:
        return self._archive.open(name)

    def read(self, name: str) -> bytes:
        return self._archive.read(name)


class _FlatParts:
    """The parts of one XML file, as Word saves a "Word XML document" (flat OPC)."""

    def __init__(self, content: bytes) -> None:
        try:
            root = parse_xml(content)
        except etree.XMLSyntaxError as error:
            message = f"the file is damaged or of another type: {error.msg}"
            raise ExtractionError(message) from error
        self._contents = {part.get(f"{_FLAT}name", "").lstrip("/"): part for part in root.iter(f"{_FLAT}part")}

    def names(self) -> list[str]:
        return list(self._contents)

    def size(self, name: str) -> int:
        return len(self.read(name))

    def open(self, name: str) -> IO[bytes]:
        return BytesIO(self.read(name))

    def read(self, name: str) -> bytes:
        for form in self._contents[name]:
            if form.tag == f"{_FLAT}xmlData" and len(form):
                return etree.tostring(form[0])
            if form.tag == f"{_FLAT}binaryData":
                return b64decode(form.text or "")
        return b""


def parse_xml(content: bytes) -> etree._Element:
    """Parse a part. Entities stay unresolved and nothing is fetched; libxml2 bounds depth and lengths."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    return etree.fromstring(content, parser)


def _key(name: str) -> str:
    """Return the form in which names are equal: some writers use other cases, slashes or a leading slash."""
    return _usual(name).casefold()


def _usual(name: str) -> str:
    return name.replace("\\", "/").lstrip("/")


def _is_xml(content: bytes) -> bool:
    return content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml")
