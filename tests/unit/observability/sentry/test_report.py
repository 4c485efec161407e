"""The event that Sentry gets: the texts of a dead letter, its attempts, its trace, and no values of variables."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.delivery.dead_letter import DeadLetterInfo, fingerprint
from streams.delivery.death_report import death_report
from streams.delivery.errors import Reason
from streams.headers import HISTORY, TRACEPARENT
from streams.observability.error_text import ErrorText, describe
from streams.observability.sentry.report import LONGEST_TAG, Report, exceptions, sentry_event
from tests.support.factories import a_record

ERROR = ErrorText("ValueError", "it broke", "")
REPORT = Report(("f",), "error", "logger", "message", ERROR)


def raised() -> ErrorText:
    """Return the texts of an error with a cause. The frames have variables."""
    secret = "hunter2"
    try:
        try:
            int("x" + secret[:0])
        except ValueError as cause:
            raise RuntimeError("it failed: really") from cause
    except RuntimeError as error:
        text = describe(error)
    return text


def test_the_stack_is_a_list_of_exceptions_with_frames() -> None:
    """Causes first, each with its frames and their lines of source, as in the text."""
    cause, last = exceptions(raised())
    assert (cause["type"], cause["value"]) == ("ValueError", "invalid literal for int() with base 10: 'x'")
    assert (last["type"], last["value"]) == ("RuntimeError", "it failed: really")
    for one in (cause, last):
        stack = one["stacktrace"]
        assert isinstance(stack, dict)
        (frame,) = stack["frames"]
        assert frame["function"] == "raised"
        assert frame["filename"] == __file__
    assert frame["context_line"] == 'raise RuntimeError("it failed: really") from cause'
    assert "hunter2" not in json.dumps([cause, last])


def test_a_text_without_a_stack_is_one_exception() -> None:
    assert exceptions(ERROR) == [{"type": "ValueError", "value": "it broke"}]
    assert exceptions(ErrorText("", "", "")) == [{"type": "Error", "value": ""}]


@given(stack=st.text(max_size=300) | st.lists(st.sampled_from(raised().stack.splitlines())).map("\n".join))
def test_any_stack_ends_with_the_error_itself(stack: str) -> None:
    """A stack is cut at its beginning, and a handler's author may make up an exception with any text."""
    found = exceptions(ErrorText("ValueError", "it broke", stack))
    assert (found[-1]["type"], found[-1]["value"]) == ("ValueError", "it broke")
    json.dumps(found)


@pytest.mark.parametrize("bad", [None, b"", b"00-zz-1-01", b"00-" + b"4" * 31 + b"-" + b"1" * 16 + b"-01", b"\xff"])
def test_an_invalid_trace_is_left_out(bad: bytes | None) -> None:
    contexts = sentry_event(replace(REPORT, traceparent=bad))["contexts"]
    assert isinstance(contexts, dict)
    assert "trace" not in contexts


def test_tags_are_short_and_printable() -> None:
    """A forged record may name any handler."""
    tags = sentry_event(replace(REPORT, tags={"handler": "\x1b" * 500, "topic": ""}))["tags"]
    assert isinstance(tags, dict)
    assert list(tags) == ["handler"]
    assert len(tags["handler"]) <= LONGEST_TAG
    assert "\x1b" not in tags["handler"]


HISTORIES = {
    "two attempts": (b'[{"attempt":1,"at":1000,"error":"a"},{"attempt":2,"at":2000,"error":"b"}]', ["a", "b"]),
    "no history": (None, []),
    "not JSON": (b"\xff[", []),
    "an object": (b'{"attempt":1}', []),
    "foreign entries": (b'[1,null,{"attempt":"1","error":"a"},{"attempt":1,"at":null,"error":"c"}]', ["c"]),
    "no time": (b'[{"attempt":1,"at":' + b"9" * 400 + b',"error":"a"}]', ["a"]),
    "long": (
        json.dumps([{"attempt": n, "at": n, "error": "x" * 9_000} for n in range(99)]).encode(),
        ["x" * 1_000] * 20,
    ),
}


@pytest.mark.requirement("Sentry", "one event for each death, grouped, with its attempts, masked; the others counted")
@pytest.mark.parametrize("name", HISTORIES)
def test_the_attempts_of_a_dead_letter_are_breadcrumbs(name: str) -> None:
    """Those of the history header, whoever wrote it, and the last one. Nothing of key and value is in the event."""
    header, expected = HISTORIES[name]
    info = DeadLetterInfo(Reason.EXHAUSTED, ERROR, 3, 1_000, 2_000, "streams.low", handler="clean-document")
    trace = (TRACEPARENT, b"00-" + b"4" * 32 + b"-" + b"1" * 16 + b"-01")
    record = a_record(value=b"the value", key=b"the key", headers=((HISTORY, header), trace))

    event = sentry_event(death_report(record, "document.deleted", info, "t1"), left_out=7)

    text = json.dumps(event)
    crumbs = event["breadcrumbs"]
    assert isinstance(crumbs, dict)
    assert [crumb["message"] for crumb in crumbs["values"]] == [*expected, "ValueError: it broke"]
    assert event["fingerprint"] == [fingerprint(info)]
    contexts = event["contexts"]
    assert isinstance(contexts, dict)
    assert contexts["streams"]["left_out"] == 7
    assert contexts["trace"] == {"trace_id": "4" * 32, "span_id": "1" * 16}
    assert "the value" not in text
    assert "the key" not in text
