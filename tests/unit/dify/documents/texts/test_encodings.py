"""Text is read in the encodings that people save. What is not certain is refused, and nothing is replaced."""

# ruff: noqa: RUF001 - letters of many scripts are the point

import random

import pytest

from streams.dify.errors import ExtractionError
from streams.dify.extraction import extract
from streams.dify.extraction.encodings import decode_mail, decode_text
from streams.dify.extraction.encodings.labels import mail_codecs, page_codecs

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
WRITTEN = {
    "cp1252": "Die Größe der Tür: 2 m, Preis 10 € – „schön“ für Müller",
    "cp1250": "Žluťoučký kůň úpěl ďábelské ódy; šest švestek, žádné jablko",
    "iso8859-2": "Žluťoučký kůň úpěl ďábelské ódy; šest švestek, žádné jablko",
    "cp1251": "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "koi8-r": "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "cp866": "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "cp1253": "Καλημέρα κόσμε, σήμερα ο καιρός είναι πολύ καλός",
    "cp1254": "İstanbul'da güneşli bir gün; çok şık bir çarşı ve ağaçlar",
    "cp1255": "שלום עולם, זה משפט קצר בעברית על מזג האוויר",
    "cp1256": "مرحبا بالعالم، هذه جملة قصيرة عن الطقس اليوم",
    "cp1257": "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis. Jiems suteiktas protas ir sąžinė",
    "cp874": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน",
    "cp932": "すべての人間は、生まれながらにして自由である。①",
    "euc_jp": "すべての人間は、生まれながらにして自由である。",
    "iso2022_jp": "すべての人間は、生まれながらにして自由である。",
    "cp949": "모든 인간은 태어날 때부터 자유로우며 똠방각하",
    "iso2022_kr": "모든 인간은 태어날 때부터 자유로우며",
    "hz": "人人生而自由，在尊严和权利上一律平等 (1948)。",
    "gbk": "人人生而自由，在尊严和权利上一律平等。朱镕基",
    "gb18030": "人人生而自由，在尊严和权利上一律平等。\U00020000",
    "big5": "人人生而自由，在尊嚴和權利上一律平等。",
    "utf-16-le": "Grüße aus Köln, ohne Marke",
    "utf-16-be": "Grüße aus Köln, ohne Marke",
    "utf-32-le": "Grüße aus Köln, ohne Marke",
    "utf-8": "Grüße, שלום, 人人",
}


@pytest.mark.requirement("Extraction", "text is read in the encodings that people save")
@pytest.mark.parametrize("codec", WRITTEN)
def test_an_encoding_is_detected(codec: str) -> None:
    assert extract(WRITTEN[codec].encode(codec), "txt", DOCUMENT).text == WRITTEN[codec]


@pytest.mark.requirement("Extraction", "text is read in the encodings that people save")
@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("caf\u00e9", "cp1252"),
        ("10 €", "cp1252"),
        ("Bücher: 10 €", "iso8859-15"),
        ('(format t "~{~a~}") ~{ab~} ~/x', "ascii"),
        ("20 °C ± 2", "cp1252"),
        ("Prix: 10 € – déjà vu", "cp1252"),
        ("姓名,年龄\n张三,20\n", "gbk"),
        ("名前,年齢\n田中,20\n", "cp932"),
        ("이름,나이\n김철수,20\n", "cp949"),
        ("id;name\n1;Łódź\n2;Kraków\n", "cp1250"),
        ("id,name\n" + "1,plain\n" * 40_000 + "2,Grüße an Jürgen\n", "cp1252"),
    ],
)
def test_a_few_characters_are_enough(text: str, codec: str) -> None:
    """A table has few of them, and often only at its end. Its file may be long."""
    assert decode_text(text.encode(codec)) == text


@pytest.mark.requirement("Extraction", "a byte order mark takes precedence over what a file declares")
@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + "Grüße".encode(),
        b"\xff\xfe" + "Grüße".encode("utf-16-le"),
        b"\xfe\xff" + "Grüße".encode("utf-16-be"),
        b"\xff\xfe\x00\x00" + "Grüße".encode("utf-32-le"),
        b"\x00\x00\xfe\xff" + "Grüße".encode("utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides(content: bytes) -> None:
    assert decode_text(content, "iso-8859-1") == "Grüße"


@pytest.mark.requirement("Extraction", "an encoding that is not certain is refused by name; nothing is replaced")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (random.Random(1).randbytes(2_000).replace(b"\x00", b"\xff"), "not UTF-8 text: byte .* is not certain"),
        ("Grüße aus Köln und Übersee für Jürgen".encode() + b" \xff", r"not UTF-8 text: byte \d+ cannot be read$"),
        (b"\xef\xbb\xbfcaf\xe9", "not UTF-8 text: byte 3 cannot be read"),
        (b"\xff\xfea", "not UTF-16-LE text"),
        (b"GIF89a\x00\x01\xff", "not UTF-8 text: byte 8 cannot be read; it is binary, not text"),
        (b"plain\x00text", "the file is binary"),
        (b"content\n\xff", "is not certain"),
    ],
)
def test_what_is_not_certain_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ExtractionError, match=message):
        decode_text(content)


def test_the_refusal_names_the_charset() -> None:
    with pytest.raises(ExtractionError, match=r"and its encoding is not certain\. Save it as UTF-8$"):
        extract(random.Random(2).randbytes(500).replace(b"\x00", b"\xff"), "txt", DOCUMENT)
    with pytest.raises(ExtractionError, match="it declares x-own"):
        decode_mail(random.Random(2).randbytes(500).replace(b"\x00", b"\xff"), "x-own")


@pytest.mark.requirement("Extraction", "labels of encodings mean what they mean in browsers")
@pytest.mark.parametrize(
    ("label", "codecs"),
    [
        ("gb2312", ("gb18030",)),
        ("GB_2312-80", ("gb18030",)),
        ("latin1", ("cp1252",)),
        ("us-ascii", ("cp1252",)),
        (" ISO-8859-1 ", ("cp1252",)),
        ("iso-8859-9", ("cp1254",)),
        ("shift_jis", ("cp932",)),
        ("ks_c_5601-1987", ("cp949",)),
        ("utf-16", ("utf-8",)),
        ("unicode", ("utf-8",)),
        ("klingon", ()),
        ("cp037", ()),
        ("", ()),
    ],
)
def test_a_label_means_what_browsers_read(label: str, codecs: tuple[str, ...]) -> None:
    assert page_codecs(label) == codecs


@pytest.mark.parametrize(
    ("label", "codecs"),
    [
        ("gb2312", ("gb18030",)),
        ("cp850", ("cp850",)),
        ("utf-7", ("utf-7",)),
        ("base64", ()),
        ("x-own", ()),
        ("\x00", ()),
    ],
)
def test_mail_has_older_labels_too(label: str, codecs: tuple[str, ...]) -> None:
    assert mail_codecs(label) == codecs


@pytest.mark.parametrize(
    ("content", "label", "text"),
    [
        (b"\x80 5", "gb2312", "€ 5"),
        (b"\x93x\x94 \x81", "iso-8859-1", "“x” \x81"),
        ("髙橋①".encode("cp932"), "shift_jis", "髙橋①"),
        (b"~{VPND~}", "hz-gb-2312", "中文"),
        ("朱镕基".encode("gbk"), "gb2312", "朱镕基"),
        ("Grüße".encode(), "gb2312", "Grüße"),
    ],
)
def test_a_declared_encoding_is_read_as_browsers_do(content: bytes, label: str, text: str) -> None:
    assert decode_text(content, label) == text


def test_colours_of_a_terminal_are_no_encoding() -> None:
    log = b"\x1b[31mred\x1b[0m \x1b(B plain"
    assert decode_text(log) == log.decode()


@pytest.mark.parametrize("extension", ["csv", "md", "html", "txt", "vtt", "properties", "xml"])
def test_each_text_format_reads_them(extension: str) -> None:
    """A Japanese word, as Excel and old editors save it."""
    head = "WEBVTT\n\n00:01.000 --> 00:02.000\n" if extension == "vtt" else ""
    content = f"{head}東京都は日本の首都です,東京都".encode("cp932")
    assert "東京都は日本の首都です" in extract(content, extension, DOCUMENT).text
