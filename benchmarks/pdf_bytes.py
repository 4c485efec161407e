"""Writes the bytes of a PDF, without a library: what reads PDF must not be what made it."""

from collections.abc import Iterable, Sequence
from hashlib import md5
from typing import NamedTuple

FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")
_PERMISSIONS = -4


class Stream(NamedTuple):
    """A stream of a PDF."""

    content: bytes
    entries: bytes = b""
    """Further entries of its dictionary."""


def pdf_bytes(objects: Sequence[bytes | Stream], passwords: tuple[bytes, bytes] | None = None) -> bytes:
    """Return a PDF of these objects, numbered from 1. The first one is its catalogue.

    Args:
        objects: dictionaries as they are, and streams.
        passwords: those of the user and of the owner, for encryption by RC4 with 40 bits; None: no encryption.
    """
    written = bytearray(b"%PDF-1.7\n")
    places = []
    key, encryption = (b"", b"") if passwords is None else _encryption(*passwords)
    for number, one in enumerate(objects, start=1):
        places.append(len(written))
        body = one if isinstance(one, bytes) else _stream(one, number, key)
        written += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    written += b"".join(b"%010d 00000 n \n" % place for place in places)
    written += b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, encryption, table)
    return bytes(written)


def text_pdf(pages: Iterable[bytes], passwords: tuple[bytes, bytes] | None = None) -> bytes:
    """Return a PDF with one page per content stream. `/F1` is Helvetica."""
    contents = list(pages)
    numbers = range(4, 4 + 2 * len(contents), 2)
    kids = b" ".join(b"%d 0 R" % number for number in numbers)
    objects: list[bytes | Stream] = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(contents)),
        FONT,
    ]
    for number, content in zip(numbers, contents, strict=True):
        objects += (page(number + 1), Stream(content))
    return pdf_bytes(objects, passwords)


def page(contents: int, font: int = 3, parent: int = 2) -> bytes:
    """Return the dictionary of a page of A4.

    Args:
        contents: the number of its content stream.
        font: the number of its font `/F1`.
        parent: the number of its node in the page tree.
    """
    return b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 %d 0 R>>>>/Contents %d 0 R>>" % (
        parent,
        font,
        contents,
    )


def _stream(one: Stream, number: int, key: bytes) -> bytes:
    content = one.content
    if key:
        content = _rc4(_md5(key + number.to_bytes(3, "little") + bytes(2))[: len(key) + 5], content)
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(content), one.entries, content)


def _encryption(user: bytes, owner: bytes) -> tuple[bytes, bytes]:
    """Return the key of a file, and the entries of its trailer."""
    identity = b"0123456789abcdef"
    for_owner = _rc4(_md5(_padded(owner))[:5], _padded(user))
    key = _md5(_padded(user) + for_owner + (_PERMISSIONS & 0xFFFFFFFF).to_bytes(4, "little") + identity)[:5]
    values = (for_owner.hex().encode(), _rc4(key, _PADDING).hex().encode(), _PERMISSIONS)
    entries = b"/Encrypt<</Filter/Standard/V 1/R 2/O<%s>/U<%s>/P %d>>" % values
    return key, entries + b"/ID[<%s><%s>]" % (identity.hex().encode(), identity.hex().encode())


def _padded(password: bytes) -> bytes:
    return (password + _PADDING)[:32]


def _md5(data: bytes) -> bytes:
    return md5(data, usedforsecurity=False).digest()  # the format demands it


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    other = 0
    for index in range(256):
        other = (other + state[index] + key[index % len(key)]) % 256
        state[index], state[other] = state[other], state[index]
    first = second = 0
    result = bytearray()
    for byte in data:
        first = (first + 1) % 256
        second = (second + state[first]) % 256
        state[first], state[second] = state[second], state[first]
        result.append(byte ^ state[(state[first] + state[second]) % 256])
    return bytes(result)
