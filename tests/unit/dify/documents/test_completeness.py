"""A text that lacks words of its file is found out, whatever reader made it."""

import io
import time
import zipfile

import pytest

from streams.dify.extraction.completeness.check import Share, found_share, missing_text_warning
from streams.dify.extraction.result import Part
from streams.dify.indexing.prepare import Prepared, checked_warnings

SECTION, TEXT = "Extraction", "a document is completed with a warning that the ledger shows"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
P = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:p="urn:p"'
S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def archive(**parts: str) -> bytes:
    """Return a zip archive. Two underscores in a name are a slash, and each part is XML."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name.replace("__", "/") + ".xml", content)
    return target.getvalue()


def word(body: str) -> bytes:
    return archive(word__document=f"<w:document {W}><w:body>{body}</w:body></w:document>")


def run(text: str) -> str:
    return f"<w:r><w:t>{text}</w:t></w:r>"


WORD = word(
    f"<w:p>{run('One para')}{run('graph of')}{run(' the body')}</w:p><w:p><w:sdt><w:sdtContent>{run('Salary')}"
    f"</w:sdtContent></w:sdt><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:moveFrom>{run('moved')}</w:moveFrom></w:p>"
)
WORKBOOK = archive(
    xl__sharedStrings=f"<sst {S}><si><t>Name</t></si><si><r><t>Ol</t></r><r><t>so</t></r></si>"
    "<si><t>unused</t></si></sst>",
    xl__worksheets__sheet1=f'<worksheet {S}><sheetData><row><c t="s"><v>0</v></c>'
    '<c t="s"><v>1</v></c><c><v>12.5</v></c>'
    '<c t="inlineStr"><is><t>inline</t></is></c><c t="str"><f>A1</f><v>formula</v></c></row></sheetData></worksheet>',
)
SLIDES = archive(
    ppt__slides__slide1=f"<p:sld {P}><a:p><a:r><a:t>Tit</a:t></a:r><a:r><a:t>le</a:t></a:r></a:p></p:sld>",
    ppt__notesSlides__notesSlide1=f"<p:notes {P}><a:p><a:r><a:t>spoken</a:t></a:r>"
    "<p:sp><p:ph type='ftr'/><a:p><a:t>footer</a:t></a:p></p:sp><a:fld><a:t>7</a:t></a:fld></a:p></p:notes>",
    ppt__diagrams__data1=f"<p:data {P}><a:p><a:t>smart</a:t></a:p></p:data>",
)
PAGE = (
    "<html><head><title>Page</title><style>p{}</style><script>var hidden='<p>'</script></head><body><!-- note -->"
    "<p>He<b>ll</b>o &eacute;t&eacute; 1 < 2</p><noscript>no</noscript></body></html>"
)
MAIL = (
    b"From: a@b.c\nContent-Type: multipart/mixed; boundary=o\n\n"
    b"--o\nContent-Type: multipart/alternative; boundary=i\n\n"
    b"--i\nContent-Type: text/plain\n\nshort\n--i\nContent-Type: text/html\n\n<p>the richer part</p>\n--i--\n"
    b"--o\nContent-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nattached\n"
    b"--o\nContent-Type: message/rfc822\n\nFrom: d@e.f\n\nenclosed words\n--o--\n"
)
BOOK = archive(
    **{
        "META-INF__container": '<container><rootfiles><rootfile full-path="b/a.xml"/></rootfiles></container>',
        "b__a": '<package><manifest><item id="1" href="one%20b.xml" media-type="application/xhtml+xml"/>'
        '<item id="2" href="not-read.xml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="1"/><itemref idref="1"/></spine></package>',
        "b__one b": "<html><body><p>First chap<i>ter</i></p></body></html>",
        "b__not-read": "<html><body>cover</body></html>",
    }
)
HELD: dict[str, tuple[str, bytes, str]] = {
    "docx": ("docx", WORD, "One paragraph of the body Salary"),
    "xlsx": ("xlsx", WORKBOOK, "Name Olso 12 5 inline formula"),
    "pptx": ("pptx", SLIDES, "Title spoken smart"),
    "html": ("html", PAGE.encode(), "Page Hello été 1 2"),
    "md": ("md", b"# Title\n\nText with <b>marks</b>.", "Title Text with marks"),
    "code": ("md", b"Run\n\n```bash title\nmake it\n```\n\n- ~~~python\n  code\n  ~~~\n", "Run make it code"),
    "eml": ("eml", MAIL, "the richer part enclosed words"),
    "epub": ("epub", BOOK, "First chapter"),
    "txt": ("txt", "\ufeffPlain words".encode(), "Plain words"),
    "utf-16": ("txt", "Plain words".encode("utf-16"), "Plain words"),
    "latin-1": ("txt", "Plain na\xefve words".encode("latin-1"), "Plain words"),
    "xml": ("xml", b'<?xml version="1.0"?><a b="c">words</a>', "xml version 1 0 a b c words"),
    "properties": ("properties", b"greeting=Hello\nname=Z\\u00fcrich Bern", "greeting Hello Bern"),
    "vtt": (
        "vtt",
        b"WEBVTT head\n\nNOTE aside\n\n1\n00:01 --> 00:02\n<v Ada>Hello <b>there</b>\nand more\n\nSTYLE\np {}\n",
        "Hello there and more",
    ),
    "Japanese": ("txt", "標準マーケット".encode(), "標準マーケット"),
}
"""File → the words that it holds."""


@pytest.mark.parametrize("name", HELD)
def test_a_text_with_all_words_is_whole(name: str) -> None:
    """Order and marks do not matter. Each word of the file counts once, and nothing else does."""
    kind, content, text = HELD[name]
    backwards = [Part(f"| {word} |") for word in reversed(text.split())]
    share = found_share(content, kind, backwards)
    assert share is not None
    assert share.found == share.held > 0
    assert missing_text_warning(content, kind, backwards) is None
    nothing = found_share(content, kind, ())
    assert nothing == Share(share.held, 0)


@pytest.mark.requirement(SECTION, TEXT)
def test_a_text_that_lacks_words_is_a_warning_without_text_of_the_file() -> None:
    """One warning with the share. Up to two words may be missing: the number of a page, a name in a template."""
    words = [f"word{number}" for number in range(100)]
    content = word("".join(f"<w:p>{run(one)}</w:p>" for one in words))
    half = [Part(" ".join(words[:50]))]
    assert (
        missing_text_warning(content, "docx", half) == "about 50% of the words that the file holds are not in its text"
    )
    assert missing_text_warning(content, "docx", [Part(" ".join(words[:98]))]) is None
    assert missing_text_warning(content, "docx", [Part(" ".join(words[:97]))]) is not None


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("docx", b"no archive"),
        ("docx", archive(word__document="<w:document")),
        ("docx", archive(word__styles="<a/>")),
        ("docx", b"\xd0\xcf\x11\xe0" * 100),
        ("pdf", b"%PDF"),
        ("txt", "words in UTF-16 without a mark".encode("utf-16-le")),
        ("txt", "words in UTF-32".encode("utf-32")),
        ("html", "<p>日本語</p>".encode("iso-2022-jp")),
        ("html", b"<!-- without an end"),
        ("html", b"<script>without an end"),
    ],
)
def test_what_cannot_be_counted_is_not_judged(kind: str, content: bytes) -> None:
    """The reader has read it: a second opinion that fails is no fault of the text."""
    assert found_share(content, kind, [Part("text")]) is None


@pytest.mark.parametrize(
    "kind", ["docx", "xlsx", "html", "open tags", "scripts", "txt", "a long word in Latin-1", "properties"]
)
def test_the_time_of_the_count_grows_with_the_size(kind: str) -> None:
    """Four times the size takes at most eight times the time."""

    def seconds(factor: int) -> float:
        count = 4_000 * factor
        rows = "".join(f'<row><c t="inlineStr"><is><t>cell {number}</t></is></c></row>' for number in range(count))
        content = {
            "docx": lambda: word("".join(f"<w:p>{run(str(number))}</w:p>" for number in range(count))),
            "xlsx": lambda: archive(xl__worksheets__a=f"<worksheet {S}><sheetData>{rows}</sheetData></worksheet>"),
            "html": lambda: "".join(f"<li>{number}" for number in range(count)).encode(),
            "open tags": lambda: b"words" + b"<!--" * count * 4,
            "scripts": lambda: b"words" + b"<script>" * count * 4,
            "txt": lambda: " ".join(map(str, range(count * 8))).encode(),
            "a long word in Latin-1": lambda: b"a" * count + b" \xe9",
            "properties": lambda: b"a" * count + b"\nb=c\\u00e9",
        }[kind]()
        began = time.process_time()
        kinds = {"open tags": "html", "scripts": "html", "a long word in Latin-1": "txt"}
        found_share(content, kinds.get(kind, kind), [Part("1 2 3 " * count)])
        return time.process_time() - began

    small = min(seconds(1) for _ in range(3))
    assert seconds(4) < max(8 * small, 0.5)


def test_very_many_words_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of a drawn part is that of the whole, and memory is bounded."""
    monkeypatch.setattr("streams.dify.extraction.completeness.check._MOST_WORDS", 500)
    words = [f"w{number}" for number in range(20_000)]
    share = found_share(" ".join(words).encode(), "txt", [Part(" ".join(words[:10_000]))])
    assert share is not None
    assert 100 < share.held <= 500
    assert 0.4 < share.found / share.held < 0.6


def test_warnings_of_a_process_are_few_short_lines() -> None:
    """The process has read a file of a stranger: its warnings go to the log and the ledger."""
    sent = Prepared(1, (), ("x" * 900, "two\nlines\x1b[2J\x00", *["more"] * 100))
    first, second, *rest = checked_warnings(sent)
    assert first == "x" * 500
    assert second == "two\\nlines\\x1b[2J\ufffd"
    assert len(rest) == 18
