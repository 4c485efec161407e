"""Detects the encoding of text that declares none.

A library ranks the encodings by the letters of many languages. Short texts and rare encodings mislead it: a price in
euros would become Hebrew of MS-DOS. So two things count as well: how common an encoding is in files of today, and
whether the words of the result look like words.
"""

import re
from codecs import getincrementaldecoder
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category, name

import chardet

_SAMPLE = 65_536
"""Bytes that the library looks at. Of a longer file they are of lines with other characters than ASCII."""
_LOOKED_AT = 8_192
"""Bytes of such lines whose characters are looked at."""
_CANDIDATES = 16
_COMMON = (
    *("big5hkscs", "cp874", "cp932", "cp949", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("cp1257", "cp1258", "euc_jis_2004", "gb18030", "iso8859-2", "iso8859-5", "iso8859-6", "iso8859-7", "iso8859-8"),
    *("iso8859-15", "koi8-r", "koi8-u"),
)
_RARE = (
    *("cp437", "cp850", "cp852", "cp855", "cp857", "cp862", "cp866", "iso8859-4", "iso8859-10", "iso8859-13"),
    *("mac-cyrillic", "mac-greek", "mac-latin2", "mac-roman", "mac-turkish"),
)
_WIDER = {
    "cp1125": "cp866",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
    "shift_jis_2004": "cp932",
    "tis-620": "cp874",
}
"""Encodings that the library names, and those of Windows that contain them."""
_SEVEN_BITS = ("iso2022_jp_2", "iso2022_jp_2004", "iso2022_jp_ext", "iso2022_kr")
_HZ = re.compile(rb"~\{((?:[\x21-\x77][\x21-\x7e])+)~\}")
_FREQUENT = 0x57
"""The last row of the table of GB 2312 with frequent letters."""
_WIDE = ("utf-16-be", "utf-16-le", "utf-32-be", "utf-32-le")
_RARE_WEIGHT = 0.5
_WESTERN_WEIGHT = 1.3
_WESTERN_SYMBOLS = 0.1
"""Added for windows-1252 where each byte beyond ASCII stands alone, divided by their number."""
_MOST_ODD = 0.2
"""The share of odd characters from which on a result is not certain."""
_LEAST_SCORE = 0.004
"""What the least certain of many short texts has; noise has less."""
_SYMBOLS = frozenset("«»“”‘’„‚–—…·•\u00a0°№©®™€ªº\u00ad\u200c\u200d\u200e\u200f\u060c\u061b\u061f")  # noqa: RUF001 - they are meant
_INSIDE_WORDS = frozenset("’‘·–—-…\u00a0\u00ad\u200c\u200d\u200e\u200f")  # noqa: RUF001 - they are meant
_EURO = b"\xa4"
"""The euro sign of ISO-8859-15. In windows-1252 it is a sign for any currency, which nobody types."""
_OF_WINDOWS = bytes(range(0x80, 0xA0))
"""Bytes with a character in the encodings of Windows only."""
_LAST_BYTE = "ÿ"
"""The byte 0xFF in Western encodings. Alone it is noise: as a letter it stands within names."""
_SCRIPTS_END = "\u1000"
"""Scripts beyond this are not told apart: one text mixes several of them."""


class Detected(NamedTuple):
    """The most likely encoding."""

    codec: str
    certain: bool
    """Whether its text looks like text."""


def detect(content: bytes) -> Detected | None:
    """Return the encoding of bytes that are not UTF-8; None: they are binary, or of no known encoding."""
    sample = _sample(content, _LOOKED_AT)
    ranked = chardet.detect_all(
        content if len(content) <= _SAMPLE else _sample(content, _SAMPLE),
        ignore_threshold=True,
        compat_names=False,
        include_encodings=(*_COMMON, *_RARE, *_WIDER),
    )
    best: tuple[float, Detected] | None = None
    for rank in ranked[:_CANDIDATES]:
        codec = _WIDER.get(rank["encoding"] or "", rank["encoding"])
        text = _text(sample, codec) if codec else None
        if codec and text is not None:
            odd = _odd(text)
            score = _weighted(rank["confidence"], codec, sample) * (1 - odd) ** 4
            if best is None or score > best[0]:
                # Without a letter, nothing tells a rare encoding from noise.
                codec = _latin_9(codec, sample)
                proven = codec in _COMMON or any(letter.isalpha() and not letter.isascii() for letter in text)
                best = score, Detected(codec, certain=proven and odd <= _MOST_ODD and score >= _LEAST_SCORE)
    return best[1] if best else None


def detect_seven_bits(content: bytes) -> str | None:
    """Return the encoding of ASCII bytes with the escape sequences of ISO-2022 or HZ; None: they are only ASCII."""
    if any(start in content for start in (b"\x1b$", b"\x1b(I", b"\x1b(J")):
        return _first(content, _SEVEN_BITS)
    return "hz" if _is_hz(content) else None


def _is_hz(content: bytes) -> bool:
    """Return whether ``~{`` and ``~}`` stand around Chinese letters only, and no other tilde is in the text."""
    letters = b"".join(_HZ.findall(content))
    # The frequent letters come first in the table. Words of programs would be rare ones.
    frequent = sum(first <= _FREQUENT for first in letters[::2])
    return frequent * 4 > len(letters) and b"~" not in _HZ.sub(b"", content).replace(b"~~", b"")


def detect_wide(content: bytes) -> str | None:
    """Return the encoding of bytes with NUL, if it is UTF-16 or UTF-32 without a byte order mark."""
    return _first(content, _WIDE)


def _first(content: bytes, encodings: tuple[str, ...]) -> str | None:
    # The library warns if its answer for no encoding, windows-1252, is not among those allowed.
    found = chardet.detect(content, compat_names=False, include_encodings=(*encodings, "cp1252"))["encoding"]
    return found if found in encodings else None


def _sample(content: bytes, size: int) -> bytes:
    """Return so many bytes of the lines with other bytes than ASCII. The others say nothing of the encoding."""
    lines: list[bytes] = []
    for line in content.splitlines():
        if not line.isascii():
            lines.append(line[:size])
            size -= len(lines[-1])
            if not size:
                break
    return b"\n".join(lines)


def _text(sample: bytes, codec: str) -> str | None:
    try:
        # The sample may end within a character.
        return getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return None


def _weighted(confidence: float, codec: str, sample: bytes) -> float:
    if codec == "cp1252":
        return confidence * _WESTERN_WEIGHT + _WESTERN_SYMBOLS * _alone(sample)
    return confidence if codec in _COMMON else confidence * _RARE_WEIGHT


def _latin_9(codec: str, sample: bytes) -> str:
    """Return ISO-8859-15 for windows-1252 with a currency sign and without any byte of Windows: it is a euro sign."""
    is_euro = codec == "cp1252" and _EURO in sample and not any(byte in sample for byte in _OF_WINDOWS)
    return "iso8859-15" if is_euro else codec


def _alone(sample: bytes) -> float:
    """Return the share of the bytes beyond ASCII that have none beside them, divided by their number."""
    high = [place for place, byte in enumerate(sample) if byte > 0x7F]  # noqa: PLR2004 - the last of ASCII
    known = frozenset(high)
    alone = sum(place - 1 not in known and place + 1 not in known for place in high)
    return alone / len(high) ** 2 if high else 0.0


def _odd(text: str) -> float:
    """Return the share of the characters beyond ASCII that no writer would put where they are."""
    beyond = odd = 0
    for before, character, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if not character.isascii():
            beyond += 1
            odd += _is_odd(before, character, after)
    return odd / beyond if beyond else 0.0


def _is_odd(before: str, character: str, after: str) -> bool:
    kind = category(character)
    within_word = before.isalpha() and after.isalpha()
    if kind in {"Cc", "Cn", "Co", "Cs"} or "\u2500" <= character <= "\u259f" or "\u02b0" <= character <= "\u02ff":
        return True  # controls, lines of boxes, accents without their letter
    if kind.startswith("L"):
        return _is_odd_letter(before, character, after)
    if kind.startswith("M") or character >= "\u2100":
        return False
    if character in _SYMBOLS:
        return within_word and character not in _INSIDE_WORDS
    return within_word or not before.isascii() or not after.isascii()


def _is_odd_letter(before: str, letter: str, after: str) -> bool:
    if letter.isupper() and before.islower():
        return True
    if letter == _LAST_BYTE and not before.isalpha() and not after.isalpha():
        return True
    script = _script(letter)
    return bool(script) and any(_script(beside) not in {"", script} for beside in (before, after))


@lru_cache(4096)
def _script(character: str) -> str:
    """Return the first word of a letter's name, like LATIN; nothing for other characters."""
    if not character.isalpha() or character >= _SCRIPTS_END:
        return ""
    return "LATIN" if character in "ªº" else name(character, "").split(" ", 1)[0]
