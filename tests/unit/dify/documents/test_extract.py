"""Files become text, or an error with the reason."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.errors import ExtractionError, NotBuiltYetError, RefusedError
from streams.dify.extraction import EXTENSIONS, extract

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grüße".encode(), "Grüße"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("\ufeffwide".encode("utf-16-le"), "wide"),
        (b"a\r\nb\rc", "a\nb\nc"),
    ],
)
def test_text_is_read_in_unicode(content: bytes, text: str) -> None:
    assert extract(content, "txt", DOCUMENT).text == text


def test_markdown_loses_its_block_marks_and_keeps_its_words() -> None:
    source = """---
title: shown
---
# Travel

Book *early*, see [the list](list.md).

1. train
2. boat

| city | days |
|------|------|
| Oslo | 2    |

```
code = 1
```
<div>inside <b>html</b></div>
"""
    assert extract(source.encode(), ".MD", DOCUMENT).text == (
        "---\ntitle: shown\n---\n\nTravel\n\nBook *early*, see [the list](list.md).\n\n1. train\n2. boat\n\n"
        "city | days\n\nOslo | 2\n\ncode = 1\n\ninside html"
    )


def test_html_is_what_its_reader_sees() -> None:
    source = """<!DOCTYPE html><html><!-- hidden --><head><title>Lunch</title>
<style>p {color: red}</style><script>alert(1)</script></head><body>
<h1>Lunch</h1><p>Soup is <b>hot</b>
   today.<br>Bread is free.</p><ul><li>one</li><li>two</li></ul>
<table><tr><td>Mon</td><td>Soup</td></tr></table></body></html>"""
    assert extract(source.encode(), "html", DOCUMENT).text == (
        "Lunch\n\nLunch\n\nSoup is hot today.\nBread is free.\n\none\n\ntwo\n\nMon Soup"
    )


def test_html_may_declare_another_encoding() -> None:
    assert extract('<meta charset="windows-1252"><p>Café</p>'.encode("cp1252"), "htm", DOCUMENT).text == "Café"


@pytest.mark.parametrize(
    ("content", "extension", "error", "message"),
    [
        (b"", "txt", ExtractionError, "is empty"),
        (b"\n \t", "txt", ExtractionError, "contains no text"),
        (b"<html><script>x</script></html>", "html", ExtractionError, "contains no text"),
        (b"caf\x81\xff\x8d\xfd\x90\xf7", "txt", ExtractionError, "not UTF-8 text: byte 3"),
        (b"MZ\x00\x01", "txt", ExtractionError, "binary"),
        (b"x", "odt", NotBuiltYetError, "type odt are not supported yet"),
        (b"x", "", NotBuiltYetError, "type unknown"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes, extension: str, error: type[RefusedError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        extract(content, extension, DOCUMENT)
    assert str(_sent(raised.value)) == str(raised.value), "it has to come back from a process"


def _sent(error: Exception) -> Exception:
    received: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - pickled by this function
    return received


def _text_or_refusal(content: bytes, extension: str) -> tuple[str | None, str | None]:
    try:
        return extract(content, extension, DOCUMENT).text, None
    except ExtractionError as error:
        return None, str(error)


@pytest.mark.requirement("Extraction", "any bytes are text or refused, in every format")
@given(st.binary(max_size=300), st.sampled_from(EXTENSIONS))
def test_any_bytes_are_text_or_refused(content: bytes, extension: str) -> None:
    """The result is text, or a RefusedError that the document can show. There is no other exception."""
    text, refusal = _text_or_refusal(content, extension)
    assert (text is None) != (refusal is None)
    assert text is None or (text.strip() == text != "" and "\x00" not in text)
    assert refusal is None or refusal.startswith("the ")


@given(st.text(max_size=200), st.sampled_from(["md", "html"]))
def test_any_marks_are_read_or_refused(text: str, extension: str) -> None:
    found, refusal = _text_or_refusal(text.encode(errors="replace"), extension)
    assert found or (refusal or "").startswith("the file")
