"""Reads the headers of a message: encoded words of any charset, and bytes that no header may have."""

from collections.abc import Sequence
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.policy import Compat32
from email.utils import collapse_rfc2231_value

from streams.dify.errors import ExtractionError
from streams.dify.extraction.bounds import MAX_HEADER
from streams.dify.extraction.encodings import decode_mail

SHOWN = ("From", "To", "Cc", "Date", "Subject")
"""The headers that a person looks at."""


class CutHeaders(Compat32):
    """Cuts header lines. The library's time for a header grows with the square of its length."""

    def header_source_parse(self, sourcelines: Sequence[str]) -> tuple[str, str]:
        """Return the name and the value of a header, with bytes beyond ASCII as characters."""
        name, value = super().header_source_parse(list(sourcelines))
        return name, _characters(value[:MAX_HEADER])


def shown_headers(message: Message) -> str:
    """Return the headers that a person looks at, as lines."""
    values = ((name, _decoded(str(message[name]))) for name in SHOWN if message[name])
    return "\n".join(f"{name}: {value}" for name, value in values if value)


def all_headers(message: Message) -> str:
    """Return every header as a line, for the fields of a delivery report."""
    return "\n".join(f"{name}: {_decoded(str(value))}" for name, value in message.items())


def file_name(part: Message) -> str:
    """Return the name of an attachment; nothing if it has none."""
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        value = part.get_param(parameter, header=header)
        if value:
            return _decoded(collapse_rfc2231_value(value))
    return ""


def _characters(value: str) -> str:
    """Return a value with the bytes beyond ASCII decoded. The parser keeps them as halves of surrogate pairs."""
    try:
        content = value.encode("ascii", "surrogateescape")
        return value if content.isascii() else decode_mail(content, "")
    except (UnicodeEncodeError, ExtractionError):
        # A few bytes of no certain encoding: the rest of the header is still worth reading.
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _decoded(value: str) -> str:
    """Return a value on one line, with the text of its encoded words. Unknown ones stay as they are."""
    try:
        parts = [_word(content, charset) for content, charset in decode_header(value)]
    except (HeaderParseError, ValueError, ExtractionError):
        # Its base64 is damaged, or its charset is not certain.
        parts = [value]
    return " ".join("".join(parts).split())


def _word(content: str | bytes, charset: str | None) -> str:
    if isinstance(content, str):
        return content
    # The library returns text between encoded words in this encoding of its own.
    return decode_mail(content, charset) if charset else content.decode("raw-unicode-escape", "replace")
