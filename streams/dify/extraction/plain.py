"""Reads files that are text as they are, in the encodings that people save."""

import re

from streams.dify.extraction.encodings import decode_text

_XML_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]{1,40})""")
_ESCAPED = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")


def plain_text(content: bytes, encoding: str = "") -> str:
    """Return the text of a file with newlines as line ends.

    Its byte order mark decides, then UTF-8, then the declared encoding, then detection.

    Raises ExtractionError if the bytes are binary, or of an encoding that is not certain.
    """
    text = decode_text(content, encoding).replace("\r\n", "\n").replace("\r", "\n")
    # A page break would vanish with the other control characters, and join two words.
    return text.replace("\f", "\n").replace("\v", "\n")


def xml_text(content: bytes) -> str:
    """Return an XML file as it is, with its tags, in the encoding that it declares. Raises ExtractionError."""
    declared = _XML_ENCODING.match(content)
    return plain_text(content, declared[1].decode("ascii") if declared else "")


def properties_text(content: bytes) -> str:
    r"""Return a properties file with the characters that its escapes like ``\u00e9`` stand for.

    Raises ExtractionError.
    """
    return _ESCAPED.sub(_unescaped, plain_text(content))


def _unescaped(found: re.Match[str]) -> str:
    # Characters beyond the first plane are written as two escapes.
    units = bytes.fromhex(found[2].replace("\\u", ""))
    return found[1] + units.decode("utf-16-be", "replace")
