"""An e-mail gives the text that a mail program shows: all of it, once, in the right letters."""

import random
from base64 import b64encode
from functools import partial

import pytest

from streams.dify.errors import ExtractionError
from streams.dify.extraction import extract
from streams.dify.extraction.mail.message import MAX_DEPTH
from tests.support.documents.growth import LINEAR, growth

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
HEAD = b"From: a@b.org\nSubject: News\n"
FIRST = "From: a@b.org\nSubject: News"


def _multipart(kind: str, *parts: bytes, head: bytes = HEAD, boundary: bytes = b"x") -> bytes:
    body = b"".join(b"--" + boundary + b"\n" + part + b"\n" for part in parts)
    return head + b"Content-Type: multipart/%s; boundary=%s\n\n%s--%s--\n" % (kind.encode(), boundary, body, boundary)


def _plain(text: bytes, more: bytes = b"; charset=utf-8") -> bytes:
    return b"Content-Type: text/plain" + more + b"\n\n" + text + b"\n"


def _html(text: bytes) -> bytes:
    return b"Content-Type: text/html; charset=utf-8\n\n" + text + b"\n"


def _text(content: bytes) -> str:
    return extract(content, "eml", DOCUMENT).text


@pytest.mark.requirement("Extraction", "an e-mail gives its richest part that has text, and all inline parts in order")
@pytest.mark.parametrize(
    ("content", "body"),
    [
        (_multipart("alternative", _plain(b""), _html(b"<p>All of <b>it</b>")), "All of it"),
        (
            _multipart("alternative", _plain(b"Please use HTML"), _html(b"<p>All of it<p>and more")),
            "All of it\n\nand more",
        ),
        (_multipart("alternative", _plain(b"See https://a.org/b"), _html(b"<a href=x>See</a>")), "See https://a.org/b"),
        (_multipart("alternative", _plain(b"With words"), _html(b"<img src=cid:1>")), "With words"),
        (
            _multipart("alternative", _plain(b"Come"), b"Content-Type: text/calendar\n\nBEGIN:VCALENDAR\nX:1\n"),
            "Come",
        ),
        (_multipart("mixed", _plain(b"one"), _html(b"<p>two"), _plain(b"three")), "one\n\ntwo\n\nthree"),
        (
            _multipart(
                "mixed",
                _multipart("alternative", _plain(b" "), _html(b"inner"), head=b"", boundary=b"y"),
                _plain(b"footer"),
            ),
            "inner\n\nfooter",
        ),
        (
            _multipart(
                "mixed", _plain(b"own"), _plain(b"not read", b"\nContent-Disposition: attachment; filename=a.txt")
            ),
            "own\n\nAttachments: a.txt",
        ),
        (
            _multipart("mixed", b"Content-Type: image/png; name==?utf-8?q?b=C3=BC.png?=\n\nAA", _plain(b"after")),
            "after\n\nAttachments: bü.png",
        ),
        (HEAD + b"Content-Type: multipart/mixed; boundary=never\n\nNo boundary comes", "No boundary comes"),
        (HEAD + b"Content-Type: text/enriched\n\n<bold>Fat</bold> 1 << 2", "Fat 1 < 2"),
        (HEAD + b"Content-Transfer-Encoding: base64\n\nR3LDvMOfZQ==", "Grüße"),
        (HEAD + b"Content-Transfer-Encoding: base64\n\nR3LDvMOfZQ==\n\n____\nThe list\n", "Grüße\n\n____\nThe list"),
        (HEAD + b"Content-Transfer-Encoding: base64\n\nR3LDvMOf\nZQ\n\n-- \nlist", "Grüße\n\n-- \nlist"),
        (HEAD + b"Content-Transfer-Encoding: base64\n\nR3LDvMOfZQ==\nR3LDvMOfZQ==\nlist", "GrüßeGrüße\n\nlist"),
        (b"\xef\xbb\xbf\r\n" + HEAD + b"\nAfter a mark", "After a mark"),
    ],
)
def test_the_text_of_a_mail_is_whole(content: bytes, body: str) -> None:
    assert _text(content) == f"{FIRST}\n\n{body}"


@pytest.mark.requirement("Extraction", "an e-mail gives its enclosed messages and delivery reports, each as a part")
def test_a_forwarded_message_is_a_part_of_its_own() -> None:
    inner = b"Content-Type: message/rfc822\n\nFrom: c@d.org\nSubject: Old\n\nThe old text\n"
    found = extract(_multipart("mixed", _plain(b"See below"), inner, _plain(b"A footer")), "eml", DOCUMENT)
    assert [(part.text, dict(part.place)) for part in found.parts] == [
        (f"{FIRST}\n\nSee below", {"part": 1}),
        ("From: c@d.org\nSubject: Old\n\nThe old text", {"part": 2}),
        ("A footer", {"part": 3}),
    ]


@pytest.mark.requirement("Extraction", "an enclosed message in base64 is decoded")
def test_an_enclosed_message_may_be_encoded_as_a_whole() -> None:
    inner = b64encode(b"From: c@d.org\nSubject: Old\n\nThe old text\n")
    part = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" + inner + b"\n"
    assert _text(_multipart("mixed", _plain(b"See below"), part)) == (
        f"{FIRST}\n\nSee below\n\nFrom: c@d.org\nSubject: Old\n\nThe old text"
    )


def test_an_appointment_beside_its_text_is_no_missing_text() -> None:
    """It has more words than the text: those of zones and of programs."""
    fields = b"Content-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nTZID:Berlin\nDESCRIPTION:Come to us\n"
    found = extract(_multipart("alternative", _plain(b"Come"), fields), "eml", DOCUMENT)
    assert (found.text, found.warnings) == (f"{FIRST}\n\nCome", ())


def test_a_mail_that_is_signed_as_a_whole_is_refused_for_that() -> None:
    with pytest.raises(ExtractionError, match="signed as a whole"):
        _text(HEAD + b"Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nMIIB")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-32"])
def test_a_mail_may_be_saved_in_wide_letters(codec: str) -> None:
    mail = f"{FIRST} für Köln\nContent-Type: text/plain; charset=utf-8\n\nGrüße aus Köln, in wide letters"
    found = extract(mail.encode(codec), "eml", DOCUMENT)
    assert (found.text, found.warnings) == (f"{FIRST} für Köln\n\nGrüße aus Köln, in wide letters", ())


def test_a_digest_gives_each_message() -> None:
    found = extract(_multipart("digest", *(b"\nSubject: s%d\n\nbody %d" % (n, n) for n in (1, 2))), "eml", DOCUMENT)
    assert [part.text for part in found.parts] == [FIRST, "Subject: s1\n\nbody 1", "Subject: s2\n\nbody 2"]


def test_a_delivery_report_says_what_happened() -> None:
    report = _multipart(
        "report",
        _plain(b"Could not be delivered"),
        b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; a.org\n\nAction: failed\nStatus: 5.1.1\n",
        b"Content-Type: text/rfc822-headers\n\nFrom: a@b.org\nSubject: Lost\n",
    )
    assert _text(report) == (
        f"{FIRST}\n\nCould not be delivered\n\nReporting-MTA: dns; a.org\n\nAction: failed\nStatus: 5.1.1\n\n"
        "From: a@b.org\nSubject: Lost"
    )


GERMAN = "Grüße aus München für die Größten"


@pytest.mark.requirement("Extraction", "an e-mail with a wrong or no charset is read by detection, or refused by name")
@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        (b"", "cp1252", GERMAN),
        (b"; charset=us-ascii", "cp1252", GERMAN),
        (b"; charset=us-ascii", "utf-8", GERMAN),
        (b"; charset=iso-8859-1", "utf-8", GERMAN),
        (b"; charset=utf-8", "cp1252", GERMAN),
        (b"; charset=unknown-8bit", "cp1251", "Съешь же ещё этих мягких булок"),
        (b"; charset=gb2312", "gbk", "朱镕基与喆"),
        (b"; charset=cp850", "cp850", GERMAN),
        (b"; charset=iso-2022-jp", "iso2022_jp", "自由である"),
        (b"", "iso2022_jp", "自由である"),
    ],
)
def test_a_body_is_read_in_its_letters(charset: bytes, codec: str, text: str) -> None:
    content = (
        HEAD + b"Content-Type: text/plain" + charset + b"\nContent-Transfer-Encoding: 8bit\n\n" + text.encode(codec)
    )
    assert _text(content) == f"{FIRST}\n\n{text}"


def test_a_page_in_a_mail_may_declare_its_encoding() -> None:
    content = HEAD + b"Content-Type: text/html\n\n<meta charset=koi8-r><p>" + "щи".encode("koi8-r")
    assert _text(content) == f"{FIRST}\n\nщи"


def test_what_no_charset_explains_is_refused_by_name() -> None:
    noise = random.Random(3).randbytes(400).replace(b"\x00", b"\xff").replace(b"\n", b"\xff")
    with pytest.raises(ExtractionError, match="it declares x-martian"):
        _text(HEAD + b"Content-Type: text/plain; charset=x-martian\nContent-Transfer-Encoding: 8bit\n\n" + noise)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        (b"=?gb2312?B?" + b64encode("朱镕基".encode("gbk")) + b"?=", "朱镕基"),
        (b"=?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?= and more", "Grüße and more"),
        ("Grüße".encode(), "Grüße"),
        ("Grüße für Jürgen".encode("cp1252"), "Grüße für Jürgen"),
        (b"=?none?b?x?=", "=?none?b?x?="),
        (b"two\n lines", "two lines"),
    ],
)
def test_headers_are_read_in_their_letters(subject: bytes, shown: str) -> None:
    assert _text(b"Subject: " + subject + b"\n\nBody") == f"Subject: {shown}\n\nBody"


def _nested(depth: int) -> bytes:
    content = _plain(b"core")
    for number in range(depth):
        content = _multipart("mixed", content, head=b"", boundary=b"b%d-" % number)
    return HEAD + content


@pytest.mark.requirement("Extraction", "the parts of an e-mail are bounded in depth and number")
def test_parts_within_parts_are_bounded() -> None:
    assert "core" in _text(_nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 2_000):
        with pytest.raises(ExtractionError, match="parts within parts"):
            _text(_nested(depth))


def test_the_number_of_parts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.dify.extraction.mail.message.MAX_PARTS", 20)
    with pytest.raises(ExtractionError, match="more than 20 parts"):
        _text(_multipart("mixed", *[_plain(b"x")] * 20))


@pytest.mark.requirement("Extraction", "the time to read an e-mail is proportional to its size")
def test_four_times_the_mail_needs_four_times_the_time() -> None:
    pair = [_plain(b"words\n" * 20), _html(b"<p>words" * 20)]
    assert growth(*(partial(_text, _multipart("mixed", *pair * count)) for count in (500, 2_000))) < LINEAR
