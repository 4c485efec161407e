"""A font for the letters of fonts that are not in a PDF: each letter is a box.

PDFium leaves out a text whose letters have no shape. If a file does not contain its font, that depends on the fonts of
the machine, and a container has none for East Asian letters. With this font nothing is left out, and the text of a file
is the same on each machine. Latin fonts are in PDFium itself.
"""

import struct
from ctypes import memmove
from functools import cache

import pypdfium2

_LATIN = frozenset({0, 1})
"""The character sets ANSI and DEFAULT of Windows."""
_HANDLE = 1
_NAME = b"Box\x00"


@cache
def use_fallback_font() -> None:
    """Let PDFium use this font for the rest of the process."""
    _Fonts().setup()


def box_font() -> bytes:
    """Return a TrueType font of two boxes: one for each character of Unicode, one for none."""
    box = struct.pack(">5hHH", 1, 0, -200, 900, 800, 3, 0)  # one contour, its bounds, its last point, no instructions
    box += bytes([1] * 4) + struct.pack(">4h", 0, 900, 0, -900) + struct.pack(">4h", -200, 0, 1000, 0)
    box += bytes(-len(box) % 4)
    tables = {
        # Format 13: many characters, one glyph.
        b"cmap": struct.pack(">4HL", 0, 1, 3, 10, 12) + struct.pack(">2H3L3L", 13, 0, 28, 0, 1, 0x20, 0x10FFFF, 1),
        b"glyf": box * 2,
        b"head": struct.pack(
            ">4L2H2Q4h2H3h", 0x10000, 0x10000, 0, 0x5F0F3CF5, 0, 1000, 0, 0, 0, -200, 900, 800, 0, 8, 2, 0, 0
        ),
        b"hhea": struct.pack(">L3hH11hH", 0x10000, 800, -200, 0, 1000, 0, 0, 900, 1, *[0] * 7, 1),
        b"hmtx": struct.pack(">Hhh", 1000, 0, 0),
        b"loca": struct.pack(">3H", 0, len(box) // 2, len(box)),
        b"maxp": struct.pack(">L14H", 0x10000, 2, 4, 1, 0, 0, 1, *[0] * 8),
    }
    head = struct.pack(">L4H", 0x10000, len(tables), 64, 2, len(tables) * 16 - 64)
    place = len(head) + 16 * len(tables)
    body = b""
    for name in sorted(tables):
        head += name + struct.pack(">3L", 0, place + len(body), len(tables[name]))
        body += tables[name] + bytes(-len(tables[name]) % 4)
    return head + body


class _Fonts(pypdfium2.PdfSysfontBase):  # type: ignore[misc]  # the library has no types
    """Answers PDFium's questions for fonts of the machine. The names of the methods are PDFium's."""

    def __init__(self) -> None:
        self._font = box_font()
        super().__init__()

    def EnumFonts(self, _this: object, _mapper: object) -> None:  # noqa: N802
        """Name no fonts of the machine."""

    def MapFont(  # noqa: N802
        self,
        _this: object,
        _weight: int,
        _italic: int,
        charset: int,
        _pitch: int,
        _face: object,
        _exact: object,
    ) -> int | None:
        """Return the handle of the font for a font that the file names; None: PDFium's own."""
        return None if charset in _LATIN else _HANDLE

    def GetFont(self, _this: object, _face: object) -> None:  # noqa: N802
        """Return no font by name."""

    def GetFontData(self, _this: object, _font: object, table: int, buffer: object, size: int) -> int:  # noqa: N802
        """Write the font, and return its length. It is no part of a collection, and single tables are not asked for."""
        return 0 if table else _written(self._font, buffer, size)

    def GetFaceName(self, _this: object, _font: object, buffer: object, size: int) -> int:  # noqa: N802
        """Write the name of the font, and return its length."""
        return _written(_NAME, buffer, size)

    def GetFontCharset(self, _this: object, _font: object) -> int:  # noqa: N802
        """Return a character set of the font."""
        return 1

    def DeleteFont(self, _this: object, _font: object) -> None:  # noqa: N802
        """Keep the font."""


def _written(content: bytes, buffer: object, size: int) -> int:
    """Write the content if there is room for it. Returns its length."""
    if buffer and size >= len(content):
        memmove(buffer, content, len(content))  # type: ignore[arg-type]  # a pointer of ctypes
    return len(content)
