"""Decodes bytes to text: by their byte order mark, as UTF-8, as declared, or by detection, in this order.

What cannot be decoded is refused. No character is replaced: a text with holes would be indexed as if it were whole.
"""

import codecs
from collections.abc import Iterable
from typing import NoReturn

from streams.dify.errors import ExtractionError
from streams.dify.extraction.encodings.detection import detect, detect_seven_bits, detect_wide
from streams.dify.extraction.encodings.labels import mail_codecs, page_codecs

__all__ = ["decode_mail", "decode_text"]

_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_MOSTLY = 4
"""So many characters must be right for each wrong one, in UTF-8 that is damaged."""


def decode_text(content: bytes, declared: str = "") -> str:
    """Return the text of a file. An encoding that browsers do not know counts as not declared.

    Raises ExtractionError if the bytes are binary, or of an encoding that is not certain.
    """
    return _decoded(content, declared, page_codecs(declared))


def decode_mail(content: bytes, charset: str) -> str:
    """Return the text of a part of an e-mail. Raises ExtractionError as `decode_text`, and names the charset."""
    return _decoded(content, charset, mail_codecs(charset))


def _decoded(content: bytes, label: str, declared: tuple[str, ...]) -> str:
    for mark, codec in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return _strictly(content.removeprefix(mark), codec)
    if content.isascii():
        return _seven_bits(content, declared)
    utf_8 = _attempt(content, ("utf-8",))
    text = utf_8 if utf_8 is not None else _attempt(content, declared)
    if text is not None and "\x00" not in text:
        return text
    if b"\x00" in content:
        return _wide(content)
    return _detected(content, label)


def _seven_bits(content: bytes, declared: tuple[str, ...]) -> str:
    """Decode ASCII bytes. They may be an encoding that shifts between sets of characters, like ISO-2022-JP."""
    if b"\x00" in content:
        return _wide(content)
    text = _attempt(content, declared)
    if text is None or text == content.decode("ascii"):
        codec = detect_seven_bits(content)
        text = _attempt(content, (codec,)) if codec else text
    return content.decode("ascii") if text is None else text


def _wide(content: bytes) -> str:
    codec = detect_wide(content)
    text = _attempt(content, (codec,)) if codec else None
    if text is None or "\x00" in text:
        first = _undecodable(content)
        before = "" if first is None else f"not UTF-8 text: byte {first} cannot be read; it is "
        message = f"the file is {before}binary, not text"
        raise ExtractionError(message)
    return text


def _detected(content: bytes, label: str) -> str:
    if _is_damaged_utf_8(content):
        return _strictly(content, "utf-8")
    found = detect(content)
    text = _attempt(content, (found.codec,)) if found else None
    if found is None or not found.certain or text is None:
        _refuse(content, label, found.codec if found else "")
    return text


def _attempt(content: bytes, names: Iterable[str]) -> str | None:
    """Return the text by the first codec that decodes all bytes; None: none does."""
    for codec in names:
        try:
            return content.decode(codec, _AS_BROWSERS)
        except UnicodeError:
            continue
    return None


def _strictly(content: bytes, codec: str) -> str:
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        message = f"the file is not {codec.upper()} text: byte {error.start} cannot be read"
        raise ExtractionError(message) from error
    if "\x00" in text:
        message = "the file is binary, not text"
        raise ExtractionError(message)
    return text


def _is_damaged_utf_8(content: bytes) -> bool:
    text = content.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return len(text) - sum(map(str.isascii, text)) - wrong > _MOSTLY * wrong


def _refuse(content: bytes, label: str, likely: str) -> NoReturn:
    """Raise ExtractionError with the encodings that were tried."""
    declared = f"; it declares {label[:40]}" if label else ""
    perhaps = f"; perhaps it is {likely.upper()}" if likely else ""
    message = (
        f"the file is not UTF-8 text: byte {_undecodable(content)} cannot be read, and its encoding is not certain"
        f"{declared}{perhaps}. Save it as UTF-8"
    )
    raise ExtractionError(message)


def _undecodable(content: bytes) -> int | None:
    """Return the place of the first byte that is not UTF-8; None: there is none."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return None


_AS_BROWSERS = "streams-browser"


def _browser_bytes(error: UnicodeError) -> tuple[str, int]:
    """Decode the bytes that browsers read and Python's codecs do not.

    They are a euro sign of one byte in GBK, and bytes of the Windows encodings without a character.
    """
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        if error.encoding in {"gbk", "gb18030"} and byte == 0x80:  # noqa: PLR2004 - as the standard writes it
            return "€", error.start + 1
        if error.encoding == "charmap" and 0x80 <= byte < 0xA0:  # noqa: PLR2004 - the second set of control characters
            return chr(byte), error.start + 1
    raise error


codecs.register_error(_AS_BROWSERS, _browser_bytes)
