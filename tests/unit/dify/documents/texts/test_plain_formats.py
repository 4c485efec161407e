"""Subtitles, properties and XML are read as text."""

import pytest

from streams.dify.extraction import extract

DOCUMENT = "6e0f1a0c-9a70-4e0e-8d86-0b8f5f3f9a01"
MEETING = b"""\xef\xbb\xbfWEBVTT - Weekly

STYLE
::cue { color: red }

NOTE Recorded
by nobody

1
00:00:01.000 --> 00:00:04.000 align:start
<v Ada Lovelace>Good <i>morning</i>, <00:00:02.000>all.</v>

00:05.000 --> 00:06.000
<v.loud Ada Lovelace>Coffee &amp; tea
are here.

00:00:07.000 --> 00:00:08.000
<v Ben>Thanks.
<v Ada Lovelace>Welcome.

00:00:09.000 --> 00:00:10.000
- A voice without a name: 2 < 3
"""


@pytest.mark.requirement("Extraction", "subtitles give what is said and by whom")
def test_subtitles_give_what_is_said() -> None:
    assert extract(MEETING.replace(b"\n", b"\r\n"), "vtt", DOCUMENT).text == (
        'Ada Lovelace "Good morning, all. Coffee & tea are here."\nBen "Thanks."\nAda Lovelace "Welcome."\n'
        "- A voice without a name: 2 < 3"
    )


def test_cues_without_speakers_are_lines() -> None:
    cues = b"WEBVTT\n\n00:01.000 --> 00:02.000\none\nmore\n\n00:02.000 --> 00:03.000\ntwo\n"
    assert extract(cues, "vtt", DOCUMENT).text == "one more\ntwo"


@pytest.mark.requirement("Extraction", "properties and XML are text, in their encodings")
@pytest.mark.parametrize(
    ("content", "text"),
    [
        (rb"name=Gr\u00fc\u00dfe \ud83d\ude00", "name=Grüße 😀"),
        (rb"path=C\:\\users \\u00fc", r"path=C\:\\users \\u00fc"),
        (b"# Gr\xfc\xdfe aus M\xfcnchen\na = b", "# Grüße aus München\na = b"),
    ],
)
def test_properties_show_their_characters(content: bytes, text: str) -> None:
    assert extract(content, "properties", DOCUMENT).text == text


@pytest.mark.parametrize("encoding", ["gb2312", "utf-8", "windows-1252", "none-such"])
def test_xml_is_read_in_its_encoding(encoding: str) -> None:
    """With its tags and attributes, as on the platform."""
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<shop city="{"北京" if encoding == "gb2312" else "Köln"}"/>'
    codec = "cp1252" if encoding == "none-such" else encoding
    assert extract(text.encode(codec), "xml", DOCUMENT).text == text


def test_a_page_break_separates_words() -> None:
    """It is a control character, which splitting removes."""
    assert extract(b"end of a page\x0cThe next page", "txt", DOCUMENT).text == "end of a page\nThe next page"
