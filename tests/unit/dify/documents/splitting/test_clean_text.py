"""The platform's cleaning rules."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.splitting.clean import CleaningStep, clean_text, without_leading_punctuation

SPACES: tuple[CleaningStep, ...] = ("remove_extra_spaces",)
URLS: tuple[CleaningStep, ...] = ("remove_urls_emails",)


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "the platform's cleaning: control characters, spaces, URLs and e-mails with Markdown images kept, in "
    "the rule's order",
)
@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("<|system|>", "<system>"),
        ("a\x00b\x08c\x0bd\x1fe\x7ff", "abcdef"),
        ("tab\tand\nline stay", "tab\tand\nline stay"),
        ("mark\ufffe", "mark"),
        ("na\u00efve \u00bfque? \u00be", "nave que? "),
        ("a\n\n\n\nb", "a\n\nb"),
        ("a   b\u3000\u00a0c", "a b c"),
        ("a \t b", "a b"),
    ],
)
def test_what_goes(text: str, cleaned: str) -> None:
    assert clean_text(text, SPACES) == cleaned


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "the platform's cleaning: control characters, spaces, URLs and e-mails with Markdown images kept, in "
    "the rule's order",
)
@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("write to a.b+c@mail.example.org now", "write to  now"),
        # The full stop after an address is part of it, because domains contain dots.
        ("Mail me@example.org. Bye", "Mail  Bye"),
        ("me@localhost stays, it has no dot", "me@localhost stays, it has no dot"),
        ("see https://example.org/a?b=c#d now", "see  now"),
        ("http://example.org", ""),
        # A bracket ends a URL.
        ("(https://example.org/a) and [text](https://example.org/b)", "() and [text]()"),
        ("ftp://example.org stays", "ftp://example.org stays"),
        ("![a picture](https://example.org/p.png) https://example.org", "![a picture](https://example.org/p.png) "),
        ("![](http://example.org/p.png)", "![](http://example.org/p.png)"),
        ("![see [1]](https://example.org/p.png)", "![see [1]](https://example.org/p.png)"),
        # Not an image: the line ends within its text.
        ("![a\nb](https://example.org/p.png)", "![a\nb]()"),
        # E-mail addresses are removed before URLs. The rest of an address in a URL is removed with the URL.
        ("https://example.org/?to=me@example.org&x", ""),
    ],
)
def test_urls_and_emails_go_and_images_stay(text: str, cleaned: str) -> None:
    assert clean_text(text, URLS) == cleaned


@pytest.mark.requirement(
    "Clean, rules, split, forms",
    "the platform's cleaning: control characters, spaces, URLs and e-mails with Markdown images kept, in "
    "the rule's order",
)
def test_steps_are_done_in_their_order() -> None:
    """Removing spaces first leaves two blanks around a removed text; in the other order there is one."""
    text = "at  https://example.org  now"
    assert clean_text(text, (*SPACES, *URLS)) == "at  now"
    assert clean_text(text, (*URLS, *SPACES)) == "at now"


@pytest.mark.requirement("Clean, rules, split, forms", "no text takes a time that grows with its square")
@pytest.mark.parametrize("text", ["a" * 2_000_000 + " @", "![" * 500_000 + "@", "![[x]" * 200_000, "a@b" * 500_000])
def test_no_text_takes_for_ever(text: str) -> None:
    """Long words and unclosed brackets: the time grows linearly, not quadratically."""
    started = time.process_time()
    assert clean_text(text, (*SPACES, *URLS)) == text
    assert time.process_time() - started < 10


@given(st.text(alphabet="ab.@:/ \n![]()htps", max_size=80))
def test_no_url_and_no_address_is_left(text: str) -> None:
    cleaned = clean_text(text, URLS)
    assert not re.search(r"(?<!\()https?://[^\s)]", cleaned)


def test_spaces_stay_unless_asked_for() -> None:
    assert clean_text("a\n\n\n\nb   c") == "a\n\n\n\nb   c"


@given(st.text())
def test_cleaning_never_adds(text: str) -> None:
    assert len(clean_text(text, SPACES)) <= len(text)


@given(st.text(alphabet=" ab\n\t\u3000", max_size=60))
def test_no_run_of_blanks_is_left(text: str) -> None:
    cleaned = clean_text(text, SPACES)
    assert "\n\n\n" not in cleaned
    assert "  " not in cleaned


@pytest.mark.parametrize(
    ("piece", "rest"),
    [("... and so", "and so"), ("。第二句", "第二句"), ("#1 (one)", "1 (one)"), ("[link]", "[link]"), ("...", "")],
)
def test_leading_punctuation(piece: str, rest: str) -> None:
    assert without_leading_punctuation(piece) == rest
