"""Markdown keeps its words, lists, links and front matter, and each section is a part."""

import random
import re
import time
from collections.abc import Callable
from functools import partial

import pytest

from streams.dify.extraction import Part, extract
from streams.dify.extraction.markdown_blocks import markdown_blocks
from tests.support.documents.growth import LINEAR, growth

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"


def _parts(source: str) -> list[Part]:
    return list(extract(source.encode(), "md", DOCUMENT).parts)


@pytest.mark.requirement("Extraction", "each section of Markdown is a part with the path of its headings")
def test_each_section_is_a_part() -> None:
    source = """Before all.

# Travel
By train.

## Cities
### North
Oslo.

```
# no heading
```

> # quoted

Rome
----
Warm.
"""
    assert [(part.text, dict(part.place)) for part in _parts(source)] == [
        ("Before all.", {}),
        ("Travel\n\nBy train.", {"headings": "Travel"}),
        ("Cities\n\nNorth\n\nOslo.\n\n# no heading\n\nquoted", {"headings": "Travel > Cities > North"}),
        ("Rome\n\nWarm.", {"headings": "Travel > Rome"}),
    ]


def test_headings_alone_stay() -> None:
    assert [part.text for part in _parts("# One\n# Two\n## Three\n")] == ["One", "Two\n\nThree"]


@pytest.mark.requirement("Extraction", "front matter of Markdown is text, and rules are not front matter")
@pytest.mark.parametrize(
    ("source", "texts"),
    [
        (
            "---\nThe first slide says hello.\n\n---\n\nThe second slide.\n",
            ["The first slide says hello.\n\nThe second slide."],
        ),
        (
            '---\ntitle: A guide\ntags:\n  - one\n- two\n# why\n"a b": {x: 1}\n---\n# Start\nText',
            ['---\ntitle: A guide\ntags:\n  - one\n- two\n# why\n"a b": {x: 1}\n---', "Start\n\nText"],
        ),
        ("---\nNote: this\n\nHello there.\n\n---\nrest", ["Note: this\n\nHello there.\n\nrest"]),
        ("---\n\n---\nText", ["Text"]),
        ("---\ntitle: never closed", ["title: never closed"]),
        ("+++\ntitle = 1\n+++\nText", ["+++\ntitle = 1\n+++\nText"]),
    ],
)
def test_front_matter_and_rules(source: str, texts: list[str]) -> None:
    assert [part.text for part in _parts(source)] == texts


@pytest.mark.requirement("Extraction", "Markdown keeps the marks of its lists and the addresses of its links")
@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("1. one\n2. two\n", "1. one\n2. two"),
        ("3) one\n\n4) two\n", "3) one\n4) two"),
        ("- a\n  - b\n    1. c\n* d\n", "- a\n  - b\n    1. c\n\n* d"),
        ("1. a\n   more\n\n   ```\n   x = 1\n   ```\n2. b\n\nafter\n", "1. a\n   more\n   x = 1\n2. b\n\nafter"),
        ("- - a\n  - b\n", "- - a\n  - b"),
        ("- [ ] open\n- [x] done\n", "- [ ] open\n- [x] done"),
        (
            "See [the handbook][1] and [it].\n\n[1]: https://example.org/h 'Title'\n[it]: <b c.md>\n",
            "See [the handbook][1] and [it].\n\n[1]: https://example.org/h 'Title'\n[it]: <b c.md>",
        ),
        ("A note.[^1]\n\n[^1]: Its text.\n", "A note.[^1]\n\n[^1]: Its text."),
        ("![alt](a.png) <https://a.org> `code`", "![alt](a.png) <https://a.org> `code`"),
        ("    indented\n      more\n", "indented\n  more"),
        ('<Card title="Start" href="/x" />\n\n<Note>\nText\n</Note>\n', '<Card title="Start" href="/x" />\n\nText'),
        ("<DIV class='a'>\n<p title='no'>Shown\n</DIV>\n", "Shown"),
    ],
)
def test_marks_and_addresses_stay(source: str, text: str) -> None:
    assert extract(source.encode(), "md", DOCUMENT).text == text


LINES = (
    *(
        "# head",
        "## head ##",
        "### h <b>",
        "#x",
        "# ",
        "  # in",
        "#\ttab",
        "words",
        "more words",
        "",
        "",
        "  ",
        "key: value",
    ),
    *("```", "~~~", "  ```", "- item", "  - inner", "1. one", "12 apples", "1.", "<div>", "</div>", "<!-- a", "-->"),
    *(
        "<script>",
        "</script>",
        "> quote",
        "> # head",
        "a | b",
        "-|-",
        "---",
        "===",
        "[r]: x",
        "    code",
        "\\# no",
        "\u00a0a",
    ),
)


def test_a_section_gives_the_same_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser reads most texts section by section, and plain sections not at all."""
    chance = random.Random(19)
    weights = [6 if line in {"# head", "words", "more words", ""} else 1 for line in LINES]
    texts = ["\n".join(chance.choices(LINES, weights, k=chance.randrange(1, 40))) for _ in range(600)]
    monkeypatch.setattr("streams.dify.extraction.markdown_blocks._LEAST", 0)
    by_section = [list(markdown_blocks(text)) for text in texts]
    monkeypatch.setattr("streams.dify.extraction.markdown_blocks._SIMPLE", re.compile("(?!)"))
    monkeypatch.setattr("streams.dify.extraction.markdown_blocks._LEAST", 1_000_000)
    assert by_section == [list(markdown_blocks(text)) for text in texts]


@pytest.mark.requirement("Extraction", "plain sections of Markdown are read without the parser")
def test_tiny_sections_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """They need a tenth of the parser's time."""
    text = "# head\nword\n" * 5_000

    def seconds() -> float:
        started = time.process_time()
        assert sum(1 for _ in markdown_blocks(text)) == 10_000
        return time.process_time() - started

    quick = min(seconds() for _ in range(3))
    monkeypatch.setattr("streams.dify.extraction.markdown_blocks._SIMPLE", re.compile("(?!)"))
    assert quick * 3 < seconds()


SHAPES: dict[str, Callable[[int], str]] = {
    "sections": lambda size: "# head\n\nwords\n\n" * size,
    "list": lambda size: "- item\n" * size,
    "nested list": lambda size: "".join(f"{'  ' * (number % 50)}- item\n" for number in range(size)),
    "table": lambda size: "a | b\n--- | ---\n" + "c | d\n" * size,
    "definitions": lambda size: "".join(f"[{number}]: https://a.org\n" for number in range(size)),
    "paragraph": lambda size: "words\n" * size,
    "HTML": lambda size: "<div>words</div>\n\n" * size,
    "brackets": lambda size: "[" * size,
    "keys": lambda size: "---\n" + "key: value\n" * size,
    "code with comments": lambda size: "```\n" + "# comment\nx = 1\n\n" * size,
    "HTML with headings": lambda size: "<div>\n" + "# head\nwords\n" * size,
    "code in sections": lambda size: "# head\n```\n# comment\n```\n" * size,
    "tiny sections": lambda size: "# head\nword\n" * size,
}


@pytest.mark.requirement("Extraction", "the time to read Markdown is proportional to its size")
@pytest.mark.parametrize("shape", SHAPES)
def test_four_times_the_text_needs_four_times_the_time(shape: str) -> None:
    assert growth(*(partial(_parts, SHAPES[shape](size)) for size in (1_000, 4_000))) < LINEAR
