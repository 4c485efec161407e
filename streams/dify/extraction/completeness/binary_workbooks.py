"""Yields the texts of the cells of a workbook from before 2007, without a library.

The file is a Compound File (MS-CFB) whose stream `Workbook` (`Book` before Excel 97) has the records of MS-XLS. Numbers
count where their format is a plain one; the results of formulas do not.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from streams.dify.errors import ExtractionError
from streams.dify.extraction.completeness.containers import (
    PLAIN_FORMATS,
    UNCOUNTABLE,
    plain_number,
    workbook_texts,
)
from streams.dify.extraction.completeness.texts import ascii_words

_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ARCHIVE = b"PK\x03\x04"
"""The file is a newer workbook under the old extension."""
_SHIFTS = {(9, 6), (12, 6)}
"""The sizes of sectors and of small sectors, as powers of two."""
_LAST_SECTOR = 0xFFFF_FFFA
"""Numbers from here on end a chain of sectors."""
_ENTRY = 128
"""Bytes of an entry of the directory."""
_STREAMS = ("Workbook", "Book")
_BOF, _EOF, _CONTINUE, _FILEPASS = 0x0809, 0x000A, 0x003C, 0x002F
_XF, _NUMBER, _RK, _MULRK = 0x00E0, 0x0203, 0x027E, 0x00BD
_SST, _LABELSST, _LABEL, _RSTRING, _STRING = 0x00FC, 0x00FD, 0x0204, 0x00D6, 0x0207
_WORKSHEET: Final = 0x0010
_EXCEL_97: Final = 0x0600
_WIDE, _HAS_READING, _HAS_RUNS = 0x01, 0x04, 0x08
"""The flags of a string: two bytes a character; readings and formats follow it."""


def binary_workbook_texts(content: bytes) -> Iterator[str]:
    """Yield the texts of cells. Raises ExtractionError where the file is not as its format says, or is encrypted."""
    if content.startswith(_ARCHIVE):
        yield from workbook_texts(content)
        return
    try:
        yield from _texts(_workbook(content))
    except (struct.error, LookupError) as error:
        raise ExtractionError(UNCOUNTABLE) from error


def _texts(stream: bytes) -> Iterator[str]:
    shared: list[str] = []
    used: set[int] = set()
    forms: list[int] = []
    for version, kind, segments in _relevant(stream):
        if kind == _XF:
            forms.append(struct.unpack_from("<H", segments[0], 2)[0])
        elif kind in {_NUMBER, _RK, _MULRK}:
            yield from (
                plain_number(repr(number))
                for style, number in _numbers_of(kind, segments[0])
                if style >= len(forms) or str(forms[style]) in PLAIN_FORMATS
            )
        elif kind == _SST:
            shared = list(_shared_strings(segments))
        elif kind == _LABELSST:
            (number,) = struct.unpack_from("<I", segments[0], 6)
            if number not in used:
                used.add(number)
                yield shared[number]
        elif kind in {_LABEL, _RSTRING}:
            yield _own_text([segments[0][6:], *segments[1:]], version)
        elif kind == _STRING:
            yield _own_text(segments, version)


def _relevant(stream: bytes) -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield the version, the kind and the data of the shared strings, the styles and the records of worksheets."""
    open_parts: list[int] = []
    version = 0
    for kind, segments in _records(stream):
        if kind == _BOF:
            version, part = struct.unpack_from("<HH", segments[0])
            open_parts.append(part)
        elif kind == _EOF and open_parts:
            open_parts.pop()
        elif kind == _FILEPASS:
            raise ExtractionError(UNCOUNTABLE)
        elif kind in {_SST, _XF} or open_parts[-1:] == [_WORKSHEET]:
            yield version, kind, segments


def _numbers_of(kind: int, data: bytes) -> Iterator[tuple[int, float]]:
    """Yield the style and the number of each cell of a record."""
    if kind == _NUMBER:
        yield struct.unpack_from("<Hd", data, 4)
        return
    cells = data[4:-2] if kind == _MULRK else data[4:10]
    for style, packed in struct.iter_unpack("<Hi", cells[: len(cells) // 6 * 6]):
        # 30 bits: an integer, or the upper half of a number; the lowest bit says that it is a hundred times as large.
        (number,) = (packed >> 2,) if packed & 2 else struct.unpack("<d", struct.pack("<q", (packed & ~3) << 32))
        yield style, number / 100 if packed & 1 else float(number)


def _records(stream: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the kind of each record and its data, with that of the records that continue it."""
    kind, segments, position = 0, [b""], 0
    while position + 4 <= len(stream):
        following, length = struct.unpack_from("<HH", stream, position)
        data = stream[position + 4 : position + 4 + length]
        position += 4 + length
        if following == _CONTINUE:
            segments.append(data)
            continue
        if kind:
            yield kind, segments
        kind, segments = following, [data]
    if kind:
        yield kind, segments


def _shared_strings(segments: list[bytes]) -> Iterator[str]:
    source = _Segments(segments)
    source.take(8)
    while not source.ended:
        yield source.string()


def _own_text(segments: list[bytes], version: int) -> str:
    """Return the string of one record. Before Excel 97 it is bytes in a code page, of which only ASCII counts."""
    if version >= _EXCEL_97:
        return _Segments(segments).string()
    (length,) = struct.unpack_from("<H", segments[0])
    return ascii_words(segments[0][2 : 2 + length])


class _Segments:
    """Reads strings that may go on in the next record, there with a flag byte of their own."""

    def __init__(self, segments: list[bytes]) -> None:
        self._segments = segments
        self._number = self._position = 0

    @property
    def ended(self) -> bool:
        return self._number == len(self._segments) - 1 and self._position >= len(self._segments[-1])

    def take(self, count: int) -> bytes:
        """Return so many bytes. Raises IndexError at the end."""
        found = bytearray()
        while len(found) < count:
            part = self._segments[self._number][self._position : self._position + count - len(found)]
            found += part
            self._position += len(part)
            if len(found) < count:
                self._next()
        return bytes(found)

    def string(self) -> str:
        """Return the next string (XLUnicodeRichExtendedString)."""
        length, flags = struct.unpack("<HB", self.take(3))
        runs = struct.unpack("<H", self.take(2))[0] if flags & _HAS_RUNS else 0
        reading = struct.unpack("<I", self.take(4))[0] if flags & _HAS_READING else 0
        text = self._characters(length, flags)
        self.take(runs * 4 + reading)
        return text

    def _characters(self, count: int, flags: int) -> str:
        found: list[str] = []
        while count:
            width = 2 if flags & _WIDE else 1
            part = self._segments[self._number][self._position : self._position + count * width]
            part = part[: len(part) // width * width]
            found.append(part.decode("utf-16-le" if width > 1 else "latin-1", "replace"))
            self._position += len(part)
            count -= len(part) // width
            if count:
                self._next()
                flags = self.take(1)[0]
        return "".join(found)

    def _next(self) -> None:
        self._number += 1
        self._position = 0
        self._segments[self._number]  # raises IndexError at the end


def _workbook(content: bytes) -> bytes:
    """Return the stream of the workbook."""
    shifts = struct.unpack_from("<HH", content, 30)
    if not content.startswith(_SIGNATURE) or shifts not in _SHIFTS:
        raise ExtractionError(UNCOUNTABLE)
    size, small = (1 << shift for shift in shifts)
    (directory,) = struct.unpack_from("<I", content, 48)
    (cutoff,) = struct.unpack_from("<I", content, 56)
    sectors = [content[start:end] for start, end in pairwise(range(size, len(content) + size, size))]
    table = _allocation_table(content, sectors)
    entries = _chain(sectors, table, directory)
    streams: dict[str, tuple[int, int]] = {}
    for start in range(0, len(entries) - _ENTRY + 1, _ENTRY):
        (named,) = struct.unpack_from("<H", entries, start + 64)
        name = entries[start : start + max(named - 2, 0)].decode("utf-16-le", "replace")
        streams.setdefault(name, struct.unpack_from("<II", entries, start + 116))
    first, length = streams[_STREAMS[0] if _STREAMS[0] in streams else _STREAMS[1]]
    if length >= cutoff:
        return _chain(sectors, table, first)[:length]
    container = _chain(sectors, table, streams["Root Entry"][0])
    numbers = _chain(sectors, table, struct.unpack_from("<I", content, 60)[0])
    pieces = [container[start : start + small] for start in range(0, len(container), small)]
    return _chain(pieces, _numbers(numbers), first)[:length]


def _allocation_table(content: bytes, sectors: list[bytes]) -> list[int]:
    """Return the number of the sector after each one: at most one for each sector that there is."""
    places = list(struct.unpack_from("<109I", content, 76))
    (more,) = struct.unpack_from("<I", content, 68)
    while more < _LAST_SECTOR and len(places) < len(sectors):
        *listed, more = _numbers(sectors[more])
        places += listed
    found: list[int] = []
    for place in places:
        if place < len(sectors) and len(found) < len(sectors):
            found += _numbers(sectors[place])
    return found


def _chain(sectors: list[bytes], table: Sequence[int], first: int) -> bytes:
    """Return the data of a chain of sectors. Raises IndexError if it leads nowhere, or in a circle."""
    found: list[bytes] = []
    number = first
    while number < _LAST_SECTOR:
        found.append(sectors[number])
        if len(found) > len(sectors):
            raise IndexError
        number = table[number]
    return b"".join(found)


def _numbers(data: bytes) -> tuple[int, ...]:
    count = len(data) // 4
    return struct.unpack(f"<{count}I", data[: count * 4])
