"""A chat model's answer is parsed completely, or rejected."""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from streams.dify.errors import NoAnswerError
from streams.dify.http import retry_after
from streams.dify.qa.chat import Pair, chat_endpoint, pairs_in
from streams.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("answer", "pairs"),
    [
        ("Q1: Who?\nA1: I.", [("Who?", "I.")]),
        ("Q1: Who?\nA1: I.\nQ2: Why?\nA2: So.\n", [("Who?", "I."), ("Why?", "So.")]),
        # An answer of several lines, with a blank one.
        ("Q1: What?\nA1: First.\n\n- second\nQ2: And?\nA2: No.", [("What?", "First.\n\n- second"), ("And?", "No.")]),
        # Text before the first question, Markdown marks, a full-width colon.
        ("Here they are:\n**Q1:** Who?\n**A1:** I.", [("Who?", "I.")]),
        ("Q1\uff1a谁在\uff1f\nA1\uff1a我。", [("谁在\uff1f", "我。")]),
        # A mark within a line is text.
        ("Q1: What does Q2: mean?\nA1: See A2: there.", [("What does Q2: mean?", "See A2: there.")]),
    ],
)
def test_pairs_of_an_answer(answer: str, pairs: list[tuple[str, str]]) -> None:
    assert pairs_in(answer) == tuple(Pair(*pair) for pair in pairs)


@pytest.mark.parametrize(
    "answer",
    ["", "I cannot do that.", "Q1: Who?", "Q1: Who?\nA1:", "A1: I.", "Q1: Who?\nQ2: Why?\nA2: So.", "Q1: a\nA2: b"],
)
def test_an_answer_with_a_pair_that_is_not_whole_is_none(answer: str) -> None:
    with pytest.raises(NoAnswerError, match="does not consist of questions and answers"):
        pairs_in(answer)


def test_when_to_come_again() -> None:
    """Seconds or a date; a past date means now; anything else is unknown."""
    later = datetime.now(tz=UTC) + timedelta(seconds=90)
    assert retry_after("7") == 7.0
    assert retry_after(format_datetime(later, usegmt=True)) == pytest.approx(90, abs=5)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after("9" * 400) is None
    assert retry_after("-3") == 0.0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_the_endpoint_is_set_whole_or_not_at_all() -> None:
    assert chat_endpoint(Settings()) is None
    with pytest.raises(SettingsError, match="belong together"):
        chat_endpoint(Settings(chat_url="http://127.0.0.1:1/v1"))
    endpoint = chat_endpoint(Settings(chat_url="http://127.0.0.1:1/v1/", chat_model="m"))
    assert endpoint is not None
    assert endpoint.url == "http://127.0.0.1:1/v1"


@pytest.mark.requirement("Faults of others", "M12: answers of chat models are read in linear time")
@pytest.mark.parametrize("flood", ["\n" * 500_000, " \n" * 300_000, "Q\n" * 300_000, "* " * 300_000, "Q1 " * 300_000])
def test_an_answer_of_any_form_is_read_in_time(flood: str) -> None:
    """Half a megabyte of blanks and marks around two pairs takes no longer than other text."""
    started = time.process_time()
    with suppress(NoAnswerError):
        pairs_in(f"{flood}\nQ1: one\nA1: two{flood}")
    assert time.process_time() - started < 10
    assert pairs_in("\n" * 1000 + "Q1: one\n\n\nA1: two") == (Pair("one", "two"),)
