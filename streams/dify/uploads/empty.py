"""Recognises an upload that was made without text, to be filled with segments by the platform's API."""

from streams.dify.sources.reader import SourceContent
from streams.dify.sources.reference import Source, StoredFile

_TEXT_FILES = frozenset({"csv", "htm", "html", "markdown", "md", "mdx", "properties", "txt", "vtt", "xml"})
"""The formats in which nothing but blanks is a whole file. In any other format such a file is damaged."""
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""The byte order marks of UTF-8 and UTF-16."""


def is_empty_upload(source: Source, read: SourceContent) -> bool:
    """Return whether a document is an uploaded text file without any text: no bytes, or blanks only.

    A file of pages, such as a scan, is not: its text is missing.
    """
    if not isinstance(source, StoredFile) or source.kind not in _TEXT_FILES:
        return False
    content = read.content
    for mark in _MARKS:
        content = content.removeprefix(mark)
    return not content.replace(b"\x00", b"").strip()
