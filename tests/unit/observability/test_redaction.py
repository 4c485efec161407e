"""No text about an event contains the values of its marked fields."""

import json
import time
import tracemalloc
from datetime import date
from typing import Annotated
from uuid import UUID

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError, field_validator

from schemas import Event, Personal, Secret
from schemas.sensitivity import Sensitivity, marks_of
from streams.observability.error_text import MESSAGE_LIMIT, describe
from streams.observability.redaction import (
    MASK,
    MAX_TEXT,
    MAX_VALUES,
    RUN,
    Redactor,
    bind_redactor,
    blanked,
    masked,
    masked_event,
    redacted,
)


class Recipient(BaseModel):
    mail: Annotated[str, Personal]
    locale: str


class CodeSent(Event):
    """A mail with a code that opens an account."""

    code: Annotated[str, Secret]
    recipients: list[Recipient]
    born: Annotated[date | None, Personal] = None
    pin: Annotated[int, Secret] = 0
    mail_id: str

    @field_validator("mail_id")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.startswith("bad"):
            message = f"{value} is not an id"
            raise ValueError(message)
        return value


def sent(code: str = "493817", mail: str = "ada@example.org") -> CodeSent:
    return CodeSent(
        code=code, recipients=[Recipient(mail=mail, locale="en")], born=date(1815, 12, 10), pin=7731, mail_id="m1"
    )


MARKS = marks_of(CodeSent)
assert MARKS is not None


def test_an_event_for_people_has_three_stars_in_each_marked_place() -> None:
    shown = masked_event(sent(), exclude={"event_id", "occurred_at"})
    assert shown == {
        "tenant_id": None,
        "code": MASK,
        "recipients": [{"mail": MASK, "locale": "en"}],
        "born": MASK,
        "pin": MASK,
        "mail_id": "m1",
    }


def test_null_stays_null() -> None:
    assert masked({"born": None, "recipients": None}, MARKS or {}) == {"born": None, "recipients": None}


def test_blanked_secrets_keep_their_type_and_leave_personal_fields_whole() -> None:
    """So that the dead letter's value still fits the schema."""
    kept = blanked(sent().model_dump(), MARKS or {}, Sensitivity.SECRET)
    assert (kept["code"], kept["pin"], kept["born"]) == (MASK, 0, date(1815, 12, 10))
    assert kept["recipients"] == [{"mail": "ada@example.org", "locale": "en"}]


LETTERS = st.characters(codec="utf-8", exclude_characters="*")
VALUES = st.text(LETTERS, min_size=4, max_size=60)


@pytest.mark.requirement("Personal data", "errors repeat no marked value, nor a run of it; senders' errors neither")
@given(VALUES, VALUES, st.text(LETTERS, max_size=40), st.text(LETTERS, max_size=40), st.data())
@example("493817", "ada@example.org", "code 493817 of ", " was refused", None)
def test_no_run_of_a_marked_value_is_left_in_a_text(
    code: str, mail: str, before: str, after: str, data: st.DataObject | None
) -> None:
    """An error's text that repeats values, whole or in part, has no `RUN` consecutive characters of them."""
    redactor = Redactor.of_events([sent(code, mail)])
    part = mail if data is None else mail[data.draw(st.integers(0, len(mail) - 1)) :]
    told = redactor(f"{before}{code}{after}{part}{before}")
    for value in (code, mail):
        runs = {value[start : start + RUN] for start in range(max(1, len(value) - RUN + 1))}
        assert [run for run in runs if run in told and len(run) >= min(RUN, len(value))] == []


@given(st.from_regex(r"[!-)+-~]([ -)+-~]{6,40})[!-)+-~]", fullmatch=True))
def test_spellings_that_errors_use_are_found(value: str) -> None:
    """A repr, JSON, a URL, and another case of letters."""
    value = " ".join(value.split())
    assume(len(value) >= RUN)
    redactor = Redactor.of_events([sent(value)])
    assert redactor(repr(value)[1:-1]) == MASK
    assert redactor(json.dumps(value)[1:-1]) == MASK
    assert redactor(value.upper()) == MASK


@given(st.text(LETTERS, max_size=80))
def test_a_text_without_marked_values_stays_as_it_is(text: str) -> None:
    assume(not any(value in text.lower() for value in ("493817", "7731", "1815-12-10")))
    assume("@" not in text)
    assert Redactor.of_events([sent("493817", "@@@@@@@@")])(text) == text


def test_short_values_are_masked_where_they_stand_as_words_and_single_characters_never() -> None:
    redactor = Redactor.of_events([sent("Li", "1")])
    assert redactor("Li said: the list has 1 entry") == f"{MASK} said: the list has 1 entry"


def test_numbers_dates_and_what_is_nested_are_masked_too() -> None:
    redactor = Redactor.of_events([sent()])
    assert redactor("pin 7731, born 1815-12-10") == f"pin {MASK}, born {MASK}"
    assert redactor.redact_json({"said": ["ada@example.org", 7731, 12, None, True]}) == {
        "said": [MASK, MASK, 12, None, True]
    }
    assert redactor.redact_json(UUID(int=5)) == str(UUID(int=5))


@pytest.mark.requirement("Personal data", "errors repeat no marked value, nor a run of it; senders' errors neither")
def test_an_exception_is_told_without_them_also_where_it_is_cut_and_in_its_causes() -> None:
    bind_redactor(Redactor.of_events([sent("tok-0123456789abcdef" * 20)]))
    try:
        long = "x" * (MESSAGE_LIMIT - 50) + "tok-0123456789abcdef" * 20
        cause = RuntimeError("ada@example.org is unknown")
        error = ValueError(long)
        error.__cause__ = cause
        told = describe(error)
        assert "0123456789" not in told.message
        assert "ada@" not in told.stack
        assert f"RuntimeError: {MASK} is unknown" in told.stack
        assert redacted("493817 stays, for it is of no event here") == "493817 stays, for it is of no event here"
    finally:
        bind_redactor(None)


@pytest.mark.requirement("Personal data", "errors repeat no marked value, nor a run of it; senders' errors neither")
def test_a_validation_error_does_not_repeat_its_input() -> None:
    with pytest.raises(ValidationError) as refused:
        CodeSent.model_validate({"code": 493817, "recipients": [{"mail": 5, "locale": "en"}], "mail_id": "m"})
    assert "493817" not in str(refused.value)


def test_nothing_is_bound_outside() -> None:
    assert redacted("493817") == "493817"


@pytest.mark.requirement("Faults of others", "H5: masking takes time and memory that grow with the text and the values")
@pytest.mark.parametrize(
    ("code", "mails"),
    [("-" * 30_000, 1), ("ab" * 15_000, 1), ("493817", 2_000), ("x", 5_000)],
    ids=["a line of dashes", "two characters", "many values", "many short values"],
)
def test_masking_is_linear_in_the_text_and_the_values(code: str, mails: int) -> None:
    """A quadratic search takes minutes and gigabytes for these."""
    mail = code if mails == 1 else "Li"
    event = CodeSent(
        code=code, recipients=[Recipient(mail=f"{mail}{at % 90}", locale="en") for at in range(mails)], mail_id="m"
    )
    redactor = Redactor.of_events([event])
    text = f"rejected: {code * 3} {mail} " * 20
    tracemalloc.start()
    started = time.thread_time()
    told = redactor(text)
    seconds = time.thread_time() - started
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert code not in told or len(code) == 1
    assert (seconds < 8, most < 100 * 2**20) == (True, True), (seconds, most)  # under tracemalloc, several times slower


@pytest.mark.requirement("Faults of others", "H5: masking takes time and memory that grow with the text and the values")
def test_of_a_long_text_the_end_is_left_out_so_that_no_beginning_of_a_value_is_left() -> None:
    redactor = Redactor.of_events([sent("tok-0123456789abcdef")])
    for missing in range(25):
        told = redactor("." * (MAX_TEXT - missing) + "tok-0123456789abcdef" + "." * 100)
        assert "tok-" not in told
        assert told.endswith("…")
        assert len(told) <= MAX_TEXT


@pytest.mark.requirement("Faults of others", "H5: masking takes time and memory that grow with the text and the values")
def test_with_too_many_marked_values_to_search_for_texts_are_masked_completely() -> None:
    redactor = Redactor.of_events([sent("0123456789" * (MAX_VALUES // 10))])
    assert redactor("anything") == MASK
    assert redactor.redact_json({"a": ["anything", None]}) == {"a": [MASK, None]}
