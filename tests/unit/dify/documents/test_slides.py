"""Presentations are read slide by slide. The files are raw XML."""

from collections.abc import Callable
from functools import partial

import pytest

from streams.dify.extraction import extract
from tests.support.documents.growth import LINEAR, growth
from tests.support.documents.office_files import relationships
from tests.support.documents.slide_files import presentation, shape, slide_page, slide_table

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"


@pytest.mark.requirement("Extraction", "a slide of a presentation is a part, with its number")
def test_a_slide_is_a_part_with_its_number() -> None:
    """The presentation decides the order. A slide without text is no part, but it counts."""
    content = presentation(slide_page(shape("Last")), slide_page(), slide_page(shape("First")), order=(3, 2, 1, 3))
    found = extract(content, "pptx", DOCUMENT)
    assert [(part.text, part.place) for part in found.parts] == [("First", {"slide": 1}), ("Last", {"slide": 3})]


@pytest.mark.requirement("Extraction", "slides: groups, tables, charts, notes, and alternatives once")
def test_everything_on_a_slide_is_read_once() -> None:
    group = f"<p:grpSp><p:grpSp>{shape('In a group', 'second line')}</p:grpSp></p:grpSp>"
    table = slide_table(("City", "a|b"), ("Oslo", "2"), ("^", "3"))
    chart = "<p:graphicFrame><a:graphicData><c:chart r:id='rIdC'/></a:graphicData></p:graphicFrame>"
    newer = f"<mc:Choice Requires='x'>{shape('Once')}</mc:Choice><mc:Fallback>{shape('Once')}</mc:Fallback>"
    slide = slide_page(
        shape("Title", placeholder="title"), group, table, chart, f"<mc:AlternateContent>{newer}</mc:AlternateContent>"
    )
    notes = slide_page(shape("Speak slowly", placeholder="body"), shape("7", placeholder="sldNum"), tag="p:notes")
    series = (
        "<c:ser><c:tx><c:v>Sales</c:v></c:tx><c:val><c:pt idx='0'><c:v>2.4000000000000004</c:v></c:pt></c:val></c:ser>"
    )
    content = presentation(
        slide,
        parts={
            "ppt/slides/_rels/slide1.xml.rels": relationships(
                ("rIdN", "notesSlide", "../notesSlides/notesSlide1.xml"), ("rIdC", "chart", "/ppt/charts/chart1.xml")
            ),
            "ppt/notesSlides/notesSlide1.xml": notes,
            "ppt/charts/chart1.xml": f'<x xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart">{series}</x>',
        },
    )
    assert extract(content, "pptx", DOCUMENT).text.split("\n") == [
        "Title",
        "In a group",
        "second line",
        "| City | a\\|b |",
        "| --- | --- |",
        "| Oslo | 2 |",
        "| Oslo | 3 |",
        "Sales: 2.4",
        "Once",
        "Speak slowly",
    ]


@pytest.mark.requirement("Extraction", "slides: fractions, powers and parentheses of equations")
def test_an_equation_on_a_slide_is_one_line() -> None:
    """Its namespace is that of Word; an older program shows the picture beside it."""
    inner = "<m:{0}><m:r><m:t>{1}</m:t></m:r></m:{0}>".format
    equation = (
        '<m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math">'
        f"<m:f>{inner('num', '1')}{inner('den', '2')}</m:f><m:sSup>{inner('e', 'x')}{inner('sup', '2')}</m:sSup>"
        f"<m:d>{inner('e', 'y')}</m:d></m:oMath>"
    )
    choice = f"<mc:AlternateContent><mc:Choice Requires='a14'>{equation}</mc:Choice></mc:AlternateContent>"
    text = shape("E = ").replace("</a:p>", f"{choice}</a:p>", 1)
    assert extract(presentation(slide_page(text)), "pptx", DOCUMENT).text == "E = 1/2x^2(y)"


@pytest.mark.requirement("Extraction", "links on slides have their addresses")
def test_links_on_a_slide_have_their_addresses() -> None:
    """A link in two styles is one link. Those to other slides and to files have no address."""

    def linked(name: str, *texts: str) -> str:
        return "".join(f'<a:r><a:rPr><a:hlinkClick r:id="{name}"/></a:rPr><a:t>{text}</a:t></a:r>' for text in texts)

    runs = f"{linked('rIdA', 'the ', 'form')}<a:r><a:t> or </a:t></a:r>{linked('rIdS', 'next')}"
    text = shape("See ").replace("</a:p>", f"{runs}</a:p>", 1)
    table = slide_table(("City",)).replace("<a:r><a:t>City</a:t></a:r>", linked("rIdA", "City"))
    related = relationships(("rIdA", "hyperlink", "https://example.org/a"), ("rIdS", "slide", "slide1.xml"))
    content = presentation(slide_page(text, table), parts={"ppt/slides/_rels/slide1.xml.rels": related})
    assert extract(content, "pptx", DOCUMENT).text.split("\n")[:2] == [
        "See [the form](https://example.org/a) or next",
        "| [City](https://example.org/a) |",
    ]


def test_a_damaged_slide_is_a_warning() -> None:
    """The other slides are read."""
    found = extract(presentation(slide_page(shape("Good")), "<p:sld"), "pptx", DOCUMENT)
    assert (found.text, found.warnings) == ("Good", ("slide 2 is damaged and is not read",))


GROWING: dict[str, Callable[[int], bytes]] = {
    "shapes": lambda size: presentation(slide_page(*[shape("x")] * size)),
    "slides": lambda size: presentation(*[slide_page(shape("x"))] * (size // 4)),
    "a table": lambda size: presentation(slide_page(slide_table(*[("x", "y")] * size))),
    "a slide many times": lambda size: presentation(slide_page(*[shape("x")] * size), order=[1] * size),
}


@pytest.mark.requirement("Extraction", "no reader needs more than proportional time")
@pytest.mark.parametrize("name", GROWING)
def test_presentations_are_read_in_proportional_time(name: str) -> None:
    """Four times the size needs four times the time; sixteen times would be quadratic."""
    small, large = GROWING[name](500), GROWING[name](2_000)
    assert growth(*(partial(extract, content, "pptx", DOCUMENT) for content in (small, large))) < LINEAR
