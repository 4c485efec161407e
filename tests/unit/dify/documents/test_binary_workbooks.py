"""The texts of workbooks from before 2007, counted without a library, in files that are written byte by byte."""

import struct
import time
from collections.abc import Sequence

import pytest

from streams.dify.errors import ExtractionError
from streams.dify.extraction import extract
from streams.dify.extraction.completeness.binary_workbooks import binary_workbook_texts
from streams.dify.extraction.completeness.check import found_share, missing_text_warning
from streams.dify.extraction.result import Part

DOCUMENT = "00000000-0000-0000-0000-000000000000"
SECTOR, SMALL = 512, 64
FREE, END, OF_TABLE = 0xFFFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFD
ROOT = 5
GLOBALS, SHEET, CHART = 0x05, 0x10, 0x20
LONG = "a long text that goes on in the record after its own, and then comes Zürich"


def record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def start(part: int, version: int = 0x0600) -> bytes:
    return record(0x0809, struct.pack("<HHHHII", version, part, 0, 1997, 0, 0))


def string(text: str, *, wide: bool = False, runs: int = 0, reading: bytes = b"") -> bytes:
    flags = wide | (8 if runs else 0) | (4 if reading else 0)
    head = struct.pack("<HB", len(text), flags) + (struct.pack("<H", runs) if runs else b"")
    head += struct.pack("<I", len(reading)) if reading else b""
    return head + text.encode("utf-16-le" if wide else "latin-1") + bytes(4 * runs) + reading


def label(number: int) -> bytes:
    return record(0x00FD, struct.pack("<HHHI", number, 0, 0, number))


def stream(shared: bytes, cells: bytes) -> bytes:
    """Return a stream with its shared strings and one sheet, whose place it names."""
    begin, end = start(GLOBALS), record(0x000A)
    named = struct.pack("<BBBB5s", 0, 0, 5, 0, b"Sheet")
    place = len(begin) + 4 + 4 + len(named) + len(shared) + len(end)
    return begin + record(0x0085, struct.pack("<I", place) + named) + shared + end + start(SHEET) + cells + end


def padded(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def entry(name: str, kind: int, first: int, length: int) -> bytes:
    named = name.encode("utf-16-le")
    head = named.ljust(64, b"\0") + struct.pack("<HBB", len(named) + 2, kind, 1)
    child = 1 if kind == ROOT else FREE
    return head + struct.pack("<III", FREE, FREE, child) + bytes(36) + struct.pack("<III", first, length, 0)


def table(*chains: int) -> list[int]:
    """Return the sector after each one, for chains of these lengths that follow each other."""
    found: list[int] = []
    for length in chains:
        found += [*range(len(found) + 1, len(found) + length), END]
    return found


def compound(content: bytes, name: str = "Workbook") -> bytes:
    """Return a container with one stream: in the small sectors if it is shorter than 4,096 bytes."""
    data = padded(content, SECTOR)
    is_small = len(content) < 4096
    small = table(-(-len(content) // SMALL)) if is_small else []
    numbers = padded(struct.pack(f"<{len(small)}I", *small), SECTOR) if is_small else b""
    streams, listed = len(data) // SECTOR, len(numbers) // SECTOR
    root = entry("Root Entry", ROOT, 0 if is_small else END, len(data) if is_small else 0)
    folder = padded(root + entry(name, 2, 0, len(content)), SECTOR)
    chains = table(streams, *([listed] if listed else []), 1)
    places = -(-(len(chains) + 1) // (SECTOR // 4))
    while len(chains) + places > places * SECTOR // 4:
        places += 1
    first_place = len(chains)
    chains += [OF_TABLE] * places
    chains += [FREE] * (places * SECTOR // 4 - len(chains))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIII", 0, places, streams + listed, 0, 4096)
    head += struct.pack("<IIII", streams if listed else END, listed, END, 0)
    places_listed = [first_place + number for number in range(places)]
    head += struct.pack("<109I", *(places_listed + [FREE] * (109 - places)))
    return head + data + numbers + folder + struct.pack(f"<{len(chains)}I", *chains)


def shared_strings(*strings: bytes) -> bytes:
    return record(0x00FC, struct.pack("<II", len(strings), len(strings)) + b"".join(strings))


def texts(content: bytes) -> list[str]:
    return list(binary_workbook_texts(content))


@pytest.mark.parametrize("filler", [0, 5_000], ids=["small sectors", "sectors"])
def test_shared_strings_and_texts_of_a_cell_of_its_own(filler: int) -> None:
    """Wide letters, formats and readings behind a text; a string that no cell refers to; a text of a chart."""
    shared = shared_strings(
        string("City"),
        string("Łódź", wide=True),
        string("Oslo", runs=2),
        string("東京", wide=True, reading=b"reading"),
        string("unused"),
    )
    own = record(0x0204, struct.pack("<HHH", 9, 0, 0) + string("own"))
    result = record(0x0207, string("of a formula"))
    chart = start(CHART) + label(0) + record(0x000A)
    cells = record(0x0042, bytes(filler)) + b"".join(map(label, range(4))) + own + result + chart
    assert texts(compound(stream(shared, cells))) == ["City", "Łódź", "Oslo", "東京", "own", "of a formula"]


@pytest.mark.parametrize("split", range(1, len(LONG), 7))
def test_a_string_goes_on_in_the_next_record(split: int) -> None:
    """There it has a flag of its own: the rest may have wider letters than the beginning."""
    first = struct.pack("<II", 2, 2) + struct.pack("<HB", len(LONG), 0) + LONG[:split].encode("latin-1")
    rest = b"\x01" + LONG[split:].encode("utf-16-le") + string("after")
    shared = record(0x00FC, first) + record(0x003C, rest)
    assert texts(compound(stream(shared, label(0) + label(1)))) == [LONG, "after"]


def test_before_excel_97_only_words_in_ascii_count() -> None:
    """The letters are those of a code page."""
    text = "Plain na\xefve words".encode("latin-1")
    cell = record(0x0204, struct.pack("<HHHH", 0, 0, 0, len(text)) + text)
    content = start(GLOBALS, 0x0500) + record(0x000A) + start(SHEET, 0x0500) + cell + record(0x000A)
    assert texts(compound(content, "Book")) == ["Plain words"]


def packed(number: float, *, hundredth: bool = False) -> int:
    """Return a number in 30 bits: an integer, or the upper half of a floating-point number."""
    if isinstance(number, int):
        return number << 2 | 2 | hundredth
    (bits,) = struct.unpack("<q", struct.pack("<d", number))
    return int(bits) >> 32 & ~3 | hundredth


@pytest.mark.requirement("Extraction", "numbers of cells count in the check that a text is whole")
def test_numbers_count_where_their_format_is_a_plain_one() -> None:
    """Their cells are one of a record, several of a record, and packed; formats: general, a date and 0.00."""
    styles = b"".join(record(0x00E0, struct.pack("<HH", 0, form) + bytes(16)) for form in (0, 14, 2))
    cells = record(0x0203, struct.pack("<HHHd", 0, 0, 0, 1234.5))
    cells += record(0x0203, struct.pack("<HHHd", 0, 1, 1, 45_292.0))
    cells += record(0x027E, struct.pack("<HHHi", 1, 0, 2, packed(199, hundredth=True)))
    several = struct.pack("<HiHi", 0, packed(-7), 0, packed(0.25))
    cells += record(0x00BD, struct.pack("<HH", 2, 0) + several + struct.pack("<H", 1))
    assert texts(compound(stream(styles, cells))) == ["1234.5", "1.99", "-7", "0.25"]


@pytest.mark.requirement("Extraction", "links of cells are Markdown links, as on the platform")
def test_a_link_of_a_cell_has_its_address() -> None:
    address = "https://example.org/a".encode("utf-16-le")
    kinds = bytes.fromhex("d0c9ea79f9bace118c8200aa004ba90b"), bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b")
    link = struct.pack("<HHHH", 1, 1, 0, 0) + kinds[0] + struct.pack("<II", 2, 3) + kinds[1]
    link += struct.pack("<I", len(address) + 2) + address + bytes(2)
    below = record(0x00FD, struct.pack("<HHHI", 1, 0, 0, 1))
    content = stream(shared_strings(string("City"), string("Oslo")), label(0) + below + record(0x01B8, link))
    assert extract(compound(content), "xls", DOCUMENT).text == '"City":"[Oslo](https://example.org/a)"'


@pytest.mark.requirement("Extraction", "a document is completed with a warning that the ledger shows")
def test_a_text_without_a_sheet_is_a_warning() -> None:
    words = [f"word{number}" for number in range(40)]
    content = compound(stream(shared_strings(*map(string, words)), b"".join(map(label, range(40)))))
    whole = [Part(" ".join(words))]
    assert missing_text_warning(content, "xls", whole) is None
    assert missing_text_warning(content, "xls", [Part(" ".join(words[:20]))]) is not None
    share = found_share(content, "xls", whole)
    assert share == (40, 40)


def test_a_newer_workbook_under_the_old_name_is_counted_as_such() -> None:
    assert found_share(b"PK\x03\x04 no archive", "xls", [Part("text")]) is None


WHOLE = compound(stream(shared_strings(string("City")), label(0)))


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        WHOLE[:600],
        compound(stream(shared_strings(string("City")), label(7))),
        compound(stream(record(0x002F, bytes(6)), label(0))),
        compound(stream(record(0x00FC, struct.pack("<IIHB", 1, 1, 900, 0)), label(0))),
        WHOLE[:48] + struct.pack("<I", 9_999) + WHOLE[52:],
        compound(b"no workbook", "Other"),
        WHOLE[:30] + b"\0" + WHOLE[31:],
    ],
    ids=[
        *("nonsense", "cut", "no such string", "encrypted", "a string without its end", "no directory", "no workbook"),
        "tiny sectors",
    ],
)
def test_what_cannot_be_counted_is_not_judged(content: bytes) -> None:
    with pytest.raises(ExtractionError, match="cannot be counted"):
        texts(content)


def circles() -> Sequence[bytes]:
    """Return containers whose chains of sectors lead in a circle."""
    place = WHOLE.rindex(struct.pack("<I", OF_TABLE))
    begin = place - place % SECTOR
    return [WHOLE[: begin + 4 * number] + struct.pack("<I", 0) + WHOLE[begin + 4 * number + 4 :] for number in range(4)]


@pytest.mark.parametrize("content", circles())
def test_a_circle_of_sectors_ends(content: bytes) -> None:
    began = time.process_time()
    try:
        texts(content)
    except ExtractionError as error:
        assert "cannot be counted" in str(error)  # noqa: PT017 - it may also be readable
    assert time.process_time() - began < 1


def test_the_reader_of_the_product_finds_the_same() -> None:
    """The files of these tests are such that xlrd opens them."""
    long = stream(shared_strings(string("City"), string("Łódź", wide=True)), label(0) + label(1))
    found = extract(compound(long), "xls", DOCUMENT)
    assert found.warnings == ()
    assert "Łódź" in " ".join(part.text for part in found.parts)
