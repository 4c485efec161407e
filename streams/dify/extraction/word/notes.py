"""Finds the footnotes and endnotes of a Word file, and numbers them in the order of their references."""

from typing import NamedTuple

from lxml import etree

from streams.dify.extraction.office.markup import attribute, name_of
from streams.dify.extraction.office.package import OfficePackage


class Note(NamedTuple):
    """A note that the text refers to."""

    number: int
    part: str
    """The name of the part that contains it."""
    content: etree._Element

    @property
    def mark(self) -> str:
        """The mark at its place and before its text, as in Markdown."""
        return f"[^{self.number}]"


class NoteReader:
    """The notes of a document, by the kinds ``footnote`` and ``endnote`` and their ids."""

    def __init__(self, package: OfficePackage, main: str) -> None:
        self._found: dict[tuple[str, str], tuple[str, etree._Element]] = {}
        self._referred: dict[tuple[str, str], Note] = {}
        for kind in ("footnote", "endnote"):
            for part in package.related(main, f"{kind}s"):
                root = package.xml(part)
                for note in root if root is not None else ():
                    if name_of(note.tag) == f"w:{kind}":
                        self._found[kind, attribute(note, "w:id") or ""] = (part, note)

    def refer(self, kind: str, name: str) -> tuple[Note | None, bool]:
        """Return the note that a reference means, and whether this is the first reference to it."""
        key = (kind, name)
        if key in self._referred:
            return self._referred[key], False
        if key not in self._found:
            return None, False
        self._referred[key] = Note(len(self._referred) + 1, *self._found[key])
        return self._referred[key], True
