"""Yields the texts that a file holds, by the plainest reading of its container.

Each function yields texts that are whole in themselves: no word crosses two of them. What no reader shows is left out:
deleted text, scripts, attachments. Raises ExtractionError where the container is not as its format says.
"""

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from email import message_from_bytes
from email.message import Message
from io import BytesIO
from math import isfinite
from xml.parsers.expat import ExpatError, ParserCreate

from streams.dify.errors import ExtractionError
from streams.dify.extraction.completeness.texts import decoded, visible

UNCOUNTABLE = "the text of the file cannot be counted"
MOST_BYTES = 64 << 20
"""Unpacked bytes of one part of an archive. A larger one is not counted."""
_CHUNK = 1 << 16
_DOCUMENT = re.compile(r"word/(document|footnotes|endnotes)\d*\.xml")
_SLIDE = re.compile(r"ppt/(slides/slide|notesSlides/notesSlide|diagrams/data)\d*\.xml")
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_STRINGS = "xl/sharedStrings.xml"
PLAIN_FORMATS = frozenset({"0", "1", "2", "3", "4", "37", "38", "39", "40", "48"})
"""The built-in formats of numbers that are no dates, percentages or fractions."""
_NO_DIGITS = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.')
_PLAIN_CODE = re.compile(r"(?i)(?=.*(?:#|general))[^dmyhs%/@]*")
"""A format of the file's own whose numbers are neither dates nor percentages nor codes."""
_REPEATED = frozenset({"dt", "ftr", "hdr", "sldNum"})
"""Placeholders of dates, headers, footers and numbers of slides."""
_WORDS, _ADDRESS = re.compile(r"\w+"), re.compile(r"https?://\S+")
_NO_BASE64 = re.compile(r"[^A-Za-z0-9+/=\s]")
_NOT_SHOWN = {"css", "directory", "javascript", "rtf", "vcard", "watch-html", "x-amp-html", "x-vcard"}
"""Text parts of an e-mail that no program shows."""


def document_texts(content: bytes) -> Iterator[str]:
    """Yield the paragraphs of a Word file: body, footnotes and endnotes. Formulas have many spellings."""
    for part in _parts(content, _DOCUMENT):
        yield from _paragraphs(part, unseen={"del", "moveFrom", "oMath"})


def slide_texts(content: bytes) -> Iterator[str]:
    """Yield the paragraphs of a presentation: slides, notes and SmartArt, without numbers and footers of slides."""
    for part in _parts(content, _SLIDE):
        yield from _paragraphs(part, unseen={"fld"})


def workbook_texts(content: bytes) -> Iterator[str]:
    """Yield the texts and the numbers of the cells of a workbook. Numbers count where their format is a plain one."""
    shared = [text for part in _parts(content, re.compile(re.escape(_STRINGS))) for text in _strings(part)]
    plain = _plain_styles(content)
    used: set[str] = set()
    for part in _parts(content, _SHEET):
        for kind, style, value in _cells(part):
            if kind == "n":
                yield plain_number(value) if plain is None or style in plain else ""
            elif kind != "s":
                yield value
            elif value not in used and value.isdecimal() and int(value) < len(shared):
                used.add(value)
                yield shared[int(value)]


def plain_number(value: str) -> str:
    """Return a number as any reader writes it: without a fraction that is zero, with 15 digits at most."""
    try:
        number = float(value)
    except ValueError:
        return ""
    if not isfinite(number):
        return ""
    return str(int(number)) if number.is_integer() else str(float(f"{number:.15g}"))


def _plain_styles(content: bytes) -> set[str] | None:
    """Return the numbers of the styles that show a number as it is; None: the file has no styles."""
    found = _Styles()
    for part in _parts(content, re.compile(r"xl/styles\.xml")):
        for _ in _parsed(part, found):
            continue
    return {str(number) for number, form in enumerate(found.forms) if form in PLAIN_FORMATS} if found.forms else None


def mail_texts(content: bytes) -> Iterator[str]:
    """Yield the text parts of an e-mail, of alternatives the longest one. Attachments are left out."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = decoded(content).encode()
    try:
        yield from _message_texts(message_from_bytes(content))
    except (LookupError, ValueError, RecursionError) as error:
        raise ExtractionError(UNCOUNTABLE) from error


def _message_texts(message: Message) -> Iterator[str]:
    if message.get_content_disposition() == "attachment":
        return
    payload = message.get_payload()
    if isinstance(payload, list):
        inner = [part for part in payload if isinstance(part, Message)]
        if message.get_content_subtype() == "alternative":
            # An appointment has fields for programs. A text beside it says the same to people.
            inner = [part for part in inner if part.get_content_subtype() != "calendar"] or inner
        parts = [list(_message_texts(part)) for part in inner]
        if message.get_content_subtype() == "alternative" and parts:
            # The reader compares words, and addresses of links are no words.
            parts = [max(parts, key=lambda texts: sum(len(_WORDS.findall(_ADDRESS.sub("", text))) for text in texts))]
        for texts in parts:
            yield from texts
    elif message.get_content_maintype() == "text" and message.get_content_subtype() not in _NOT_SHOWN:
        body = message.get_payload(decode=True)
        # Lines that a mailing list adds to base64 would come out as noise.
        is_noise = message.get("content-transfer-encoding") == "base64" and _NO_BASE64.search(str(payload)) is not None
        text = decoded(body) if isinstance(body, bytes) and not is_noise else ""
        yield from visible(text) if message.get_content_subtype() == "html" else [text]


def _parts(content: bytes, names: re.Pattern[str]) -> Iterator[Iterable[bytes]]:
    """Yield the chunks of each part of an archive whose name matches."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            for entry in archive.infolist():
                if names.fullmatch(entry.filename) and entry.file_size <= MOST_BYTES:
                    with archive.open(entry) as part:
                        yield iter(lambda part=part: part.read(_CHUNK), b"")  # type: ignore[misc]  # of a loop
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ExtractionError(UNCOUNTABLE) from error


class _Paragraphs:
    """Collects the text of each paragraph. A paragraph may be within another one."""

    def __init__(self, unseen: set[str]) -> None:
        self._unseen = unseen
        self._hidden = 0
        self._repeated = False
        """Whether the shape repeats what is on every slide."""
        self._in_text = False
        self._open: list[list[str]] = [[]]
        self.done: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if local == "t":
            self._in_text = not self._hidden and not self._repeated
        elif local in {"sp", "ph"}:
            self._repeated = attributes.get("type") in _REPEATED
        elif local == "p":
            self._open.append([])
        elif local in {"tab", "br", "cr"}:
            self._open[-1].append(" ")
        elif local in self._unseen:
            self._hidden += 1

    def text(self, data: str) -> None:
        if self._in_text:
            self._open[-1].append(data)

    def end(self, name: str) -> None:
        local = name.rpartition(":")[2]
        if local == "t":
            self._in_text = False
        elif local == "p" and len(self._open) > 1:
            self.done.append("".join(self._open.pop()))
        elif local in self._unseen:
            self._hidden -= 1


class _Strings:
    """Collects the shared strings of a workbook. Readings (rPh) are left out."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._in_text = self._in_reading = False
        self.done: list[str] = []

    def start(self, name: str, _attributes: object) -> None:
        local = name.rpartition(":")[2]
        self._in_reading = self._in_reading or local == "rPh"
        self._in_text = local == "t" and not self._in_reading

    def text(self, data: str) -> None:
        if self._in_text:
            self._text.append(data)

    def end(self, name: str) -> None:
        local = name.rpartition(":")[2]
        self._in_text = False
        if local == "rPh":
            self._in_reading = False
        elif local == "si":
            self.done.append("".join(self._text))
            self._text.clear()


class _Styles:
    """Collects the number formats of the styles of cells."""

    def __init__(self) -> None:
        self._in_cells = False
        self._own: set[str] = set()
        self.forms: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if local == "cellXfs":
            self._in_cells = True
        elif local == "xf" and self._in_cells:
            form = attributes.get("numFmtId", "0")
            self.forms.append("0" if form in self._own else form)
        elif local == "numFmt" and _PLAIN_CODE.fullmatch(_NO_DIGITS.sub("", attributes.get("formatCode", "%"))):
            self._own.add(attributes.get("numFmtId", ""))

    def text(self, _data: str) -> None:
        """A style has no text."""

    def end(self, name: str) -> None:
        self._in_cells = self._in_cells and name.rpartition(":")[2] != "cellXfs"


class _Cells:
    """Collects the cells: the kind and the style of each, and its value or the number of its shared string."""

    def __init__(self) -> None:
        self._kind = self._style = ""
        self._text: list[str] = []
        self._in_text = False
        self.done: list[tuple[str, str, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        if local == "c":
            self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "0")
            self._text.clear()
        self._in_text = local in {"v", "t"} and self._kind in {"n", "s", "str", "inlineStr"}

    def text(self, data: str) -> None:
        if self._in_text:
            self._text.append(data)

    def end(self, name: str) -> None:
        self._in_text = False
        if name.rpartition(":")[2] == "c" and self._text:
            self.done.append((self._kind, self._style, "".join(self._text)))


def _paragraphs(part: Iterable[bytes], unseen: set[str]) -> Iterator[str]:
    found = _Paragraphs(unseen)
    for _ in _parsed(part, found):
        yield from found.done
        found.done.clear()


def _strings(part: Iterable[bytes]) -> list[str]:
    found = _Strings()
    for _ in _parsed(part, found):
        continue
    return found.done


def _cells(part: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    found = _Cells()
    for _ in _parsed(part, found):
        yield from found.done
        found.done.clear()


def _parsed(part: Iterable[bytes], found: _Paragraphs | _Strings | _Styles | _Cells) -> Iterator[None]:
    """Parse XML chunk by chunk, and yield after each."""
    parser = ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = found.start
    parser.CharacterDataHandler = found.text
    parser.EndElementHandler = found.end
    try:
        for chunk in part:
            parser.Parse(chunk, False)  # noqa: FBT003 - the library takes it by place
            yield
        parser.Parse(b"", True)  # noqa: FBT003
    except (ExpatError, ValueError) as error:
        raise ExtractionError(UNCOUNTABLE) from error
    yield
