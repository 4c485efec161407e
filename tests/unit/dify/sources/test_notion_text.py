"""The text of Notion's blocks and rows, in the form of its API."""

import pytest

from streams.dify.sources.notion_text import block_text, row_line

SECTION, TEXT = "Extraction", "Notion: formulas, roll-ups, ids, both ends of dates, links, captions"


def _rich(*parts: str) -> list[dict[str, object]]:
    return [{"type": "text", "plain_text": part} for part in parts]


def _linked(url: str, *parts: str) -> list[dict[str, object]]:
    """Return a text with a link, in parts of several styles."""
    link = {"link": {"url": url}}
    return [{"type": "text", "plain_text": part, "href": url, "text": {"content": part, **link}} for part in parts]


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ({"type": "title", "title": _rich("Desk, ", "oak")}, "Desk, oak"),
        ({"type": "rich_text", "rich_text": _rich("a", "b")}, "ab"),
        ({"type": "formula", "formula": {"type": "number", "number": 0}}, "0"),
        ({"type": "formula", "formula": {"type": "string", "string": "two words"}}, "two words"),
        ({"type": "formula", "formula": {"type": "boolean", "boolean": False}}, "False"),
        ({"type": "formula", "formula": {"type": "date", "date": {"start": "2024-01-01", "end": None}}}, "2024-01-01"),
        ({"type": "date", "date": {"start": "2024-01-01", "end": "2024-01-05"}}, "2024-01-01 to 2024-01-05"),
        ({"type": "rollup", "rollup": {"type": "number", "number": 7, "function": "sum"}}, "7"),
        (
            {
                "type": "rollup",
                "rollup": {
                    "type": "array",
                    "array": [
                        {"type": "title", "title": _rich("One")},
                        {"type": "number", "number": 2},
                        {"type": "select", "select": {"id": "x", "name": "Three"}},
                    ],
                },
            },
            "One, 2, Three",
        ),
        ({"type": "unique_id", "unique_id": {"prefix": "TASK", "number": 12}}, "TASK-12"),
        ({"type": "unique_id", "unique_id": {"prefix": None, "number": 12}}, "12"),
        ({"type": "relation", "relation": [{"id": "a-1"}, {"id": "b-2"}]}, "a-1, b-2"),
        (
            {
                "type": "people",
                "people": [
                    {"object": "user", "id": "u-1", "name": "Ann", "type": "person", "person": {"email": "a@x.org"}},
                    {"object": "user", "id": "u-2"},
                ],
            },
            "Ann, u-2",
        ),
        (
            {
                "type": "files",
                "files": [{"name": "plan.pdf", "type": "external", "external": {"url": "https://x.org/plan.pdf"}}],
            },
            "plan.pdf",
        ),
        ({"type": "multi_select", "multi_select": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}, "a, b"),
        ({"type": "verification", "verification": {"state": "verified", "date": None}}, "verified"),
        ({"type": "url", "url": "https://x.org"}, "https://x.org"),
    ],
    ids=lambda value: str(value["type"]) if isinstance(value, dict) else "",
)
def test_each_property_of_a_row_has_its_value(held: dict[str, object], shown: str) -> None:
    assert row_line({"properties": {"P": held}}) == f"P: {shown}"


@pytest.mark.requirement(SECTION, TEXT)
def test_a_row_ends_with_the_address_of_its_page() -> None:
    """A property without a value is left out."""
    properties = {
        "Name": {"type": "title", "title": _rich("Oslo")},
        "Sum": {"type": "formula", "formula": {"type": "number", "number": None}},
        "Press": {"type": "button", "button": {}},
    }
    row: dict[str, object] = {"properties": properties, "url": "https://www.notion.so/Oslo-1"}
    assert row_line(row) == "Name: Oslo;Row Page URL: https://www.notion.so/Oslo-1"


@pytest.mark.requirement(SECTION, TEXT)
@pytest.mark.parametrize(
    ("kind", "content", "shown"),
    [
        ("heading_2", {"rich_text": _rich("Lea", "ve")}, "## Leave"),
        ("bookmark", {"url": "https://x.org/a", "caption": []}, "https://x.org/a"),
        ("bookmark", {"url": "https://x.org/a", "caption": _rich("The ", "plan")}, "[The plan](https://x.org/a)"),
        ("embed", {"url": "https://x.org/map", "caption": []}, "https://x.org/map"),
        ("link_preview", {"url": "https://x.org/pull/1"}, "https://x.org/pull/1"),
        ("to_do", {"rich_text": _rich("Buy"), "checked": True}, "[x] Buy"),
        ("to_do", {"rich_text": _rich("Buy"), "checked": False}, "[ ] Buy"),
        (
            "paragraph",
            {"rich_text": [*_rich("See "), *_linked("https://a.org/x", "the ", "form"), *_rich(".")]},
            "See [the form](https://a.org/x).",
        ),
        ("paragraph", {"rich_text": _linked("https://a.org", "https://a.org")}, "https://a.org"),
        ("paragraph", {"rich_text": _linked("/1f3a", "A page")}, "A page"),
        ("equation", {"expression": "e = mc^2"}, "e = mc^2"),
        ("code", {"rich_text": _rich("a = 1"), "caption": _rich("the start"), "language": "python"}, "a = 1 the start"),
        (
            "image",
            {"type": "external", "external": {"url": "https://x.org/p.png"}, "caption": _rich("A door")},
            "[A door](https://x.org/p.png)",
        ),
        ("image", {"type": "file", "file": {"url": "https://signed"}, "caption": _rich("A door")}, "A door"),
        ("file", {"type": "file", "file": {"url": "https://signed"}, "caption": [], "name": "plan.pdf"}, "plan.pdf"),
        ("child_page", {"title": "More"}, "More"),
        ("table_row", {"cells": [_rich("a"), _rich("b", "c")]}, "a | bc"),
        ("divider", {}, ""),
    ],
)
def test_each_block_has_its_text(kind: str, content: dict[str, object], shown: str) -> None:
    """The signed address of a file of Notion's own is left out: it expires within an hour."""
    assert block_text({"type": kind, kind: content}) == shown


@pytest.mark.parametrize("held", [None, [], {"type": []}, {"type": "relation", "relation": [{"type": []}, None]}])
def test_values_of_another_form_are_no_text(held: object) -> None:
    assert row_line({"properties": {"P": held}}) == ""
    assert row_line({"properties": held}) == ""


@pytest.mark.parametrize("block", [{}, {"type": None}, {"type": "bookmark", "bookmark": {"url": 1, "caption": "x"}}])
def test_blocks_of_another_form_are_no_text(block: dict[str, object]) -> None:
    assert block_text(block) == ""
