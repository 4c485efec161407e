"""HTML is what a person sees in a browser, in the encoding that a browser reads, and in linear time."""

from collections.abc import Callable
from functools import partial

import pytest

from streams.dify.extraction import extract
from streams.dify.extraction.web.page import declared_encoding, page_text
from tests.support.documents.growth import LINEAR, growth

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"


@pytest.mark.requirement("Extraction", "a page is read in the encoding that browsers read")
@pytest.mark.parametrize(
    ("head", "codec", "text"),
    [
        ('<meta charset="gb2312">', "gbk", "朱镕基与喆"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">', "cp1252", "10 € “quoted”"),
        ("<meta charset=ascii>", "cp1252", "naïve"),
        ('<meta charset="unicode">', "utf-8", "Grüße"),
        ('<meta charset="utf-16">', "utf-8", "Grüße"),
        ("<meta charset=utf-8>", "cp1252", "Grüße aus München für Jürgen"),
        ("<meta charset=klingon>", "cp1252", "Grüße aus München für Jürgen"),
        ("", "cp1251", "Привет, как дела сегодня"),
        ("<!-- <meta charset=koi8-r> --><meta charset=windows-1251>", "cp1251", "да"),
        ('<?xml version="1.0" encoding="windows-1251"?>', "cp1251", "да"),
        ("<meta charset=iso-2022-jp>", "iso2022_jp", "自由である"),
    ],
)
def test_a_page_is_read_as_browsers_read_it(head: str, codec: str, text: str) -> None:
    assert extract(f"{head}<p>{text}</p>".encode(codec), "html", DOCUMENT).text == text


def test_a_declaration_may_stand_after_long_comments() -> None:
    assert declared_encoding(b"<!--" + b"x" * 4_000 + b"-->\n<META content='a; CharSet=GBK'>") == "GBK"


@pytest.mark.requirement("Extraction", "a page gives what a person sees")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>a&nbsp;b&eacute;&euro;&#128;&nosuch;", "a bé€€&nosuch;"),
        ("<p>one<p hidden>two<p>three", "one\n\nthree"),
        ("<div hidden><br><img src=x>a<p>b</div>c", "c"),
        ("<div hidden=until-found>found</div><div role=tabpanel hidden>tab</div>", "found\n\ntab"),
        ("<input type=text hidden>a<br hidden>b", "ab"),
        ("<template>a</template><noscript>b</noscript><script>c</script><style>d</style><iframe>e</iframe>f", "f"),
        ("<title>A <b> in a title</title>x", "A <b> in a title\n\nx"),
        ("<select><option>one<option>two</select>", "one\ntwo"),
        ("<textarea>a\n<b></textarea>c", "a\n<b>\n\nc"),
        ("<pre>a\nb</pre>", "a\nb"),
        ("<svg><style>x</style><text>drawn</text></svg>", "drawn"),
        ("<table><caption>Days</caption><tr><th>a<td>b<tr><td>c<td>d</table>", "Days\n\na b\n\nc d"),
        ("</div>a</span>b</b></html>c", "abc"),
        ("<center>one</center><center>two</center><xmp>three</xmp>four", "one\n\ntwo\n\nthree\n\nfour"),
        ("<button>Save</button><button>Stop</button> or <b>press</b> <button>OK</button>.", "Save Stop or press OK."),
        ("<input>first <input> <b>last</b>", "first last"),
        ("<label>Name<input></label><label>Age<input></label>", "Name Age"),
        ("<ruby>東<rp>[</rp><rt>とう</rt><rp>]</rp></ruby>へ", "東(とう)へ"),
        ("<p>a<!-- never closed <p>b", "a"),
        ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
        ("", ""),
        ("<!-- only a comment -->", ""),
    ],
)
def test_a_page_gives_what_a_person_sees(source: str, text: str) -> None:
    assert page_text(source) == text


def test_the_label_of_a_decoded_page_does_not_matter() -> None:
    assert page_text("<meta charset=gbk><p>Grüße") == "Grüße"


SHAPES: dict[str, Callable[[int], str]] = {
    "table": lambda size: "<table>" + "<tr><td>cell</td><td>b</td></tr>" * size + "</table>",
    "list": lambda size: "<ul>" + "<li>an item of the list</li>" * size + "</ul>",
    "siblings": lambda size: "<div>" + "<p>words</p>text<br>" * size + "</div>",
    "depth": lambda size: "<div>word " * size,
    "formatting": lambda size: "<b>word <i>" * size,
    "open links": lambda size: "<a><b><i></a>word " * size,
    "open formatting": lambda size: "".join(f"<b id=x{n}><p>word" for n in range(size)),
    "nested tables": lambda size: "<table><tr><td>word " * size,
    "open comments": lambda size: "word <!--" * size,
    "open tags": lambda size: "word " + "<a b='" * size,
    "hidden": lambda size: "word" + "<p hidden>x" * size,
    "entities": lambda size: "word &amp; &nosuch; &#65;" * size,
}


@pytest.mark.requirement("Extraction", "the time to read a page is proportional to its size")
@pytest.mark.parametrize("shape", SHAPES)
def test_four_times_the_page_needs_four_times_the_time(shape: str) -> None:
    make = SHAPES[shape]
    assert "word" in page_text(make(10)) or shape in {"table", "list"}

    assert growth(*(partial(page_text, make(size)) for size in (10_000, 40_000))) < LINEAR


def test_a_page_deeper_than_any_tree_is_whole() -> None:
    assert page_text("<div><span>" * 50_000 + "the last word").endswith("the last word")
