"""Events from lines of JSON. The first invalid line ends the input; the error has its number and the field."""

import io

import pytest

from streams.cli.output import WRONG_REQUEST, CommandError
from streams.cli.publish import EventLines, _event
from tests.support.factories import CATALOGUE

TOPIC = CATALOGUE.topic("document.deleted")
GOOD = '{"document_id": "d", "dataset_id": "s", "doc_form": "text_model"}'


def test_valid_lines_become_events_and_empty_lines_are_skipped() -> None:
    lines = EventLines(TOPIC, [GOOD, "\n", GOOD])
    assert len(list(lines)) == 2
    assert (lines.number, lines.problem) == (3, None)


def test_it_stops_at_the_first_invalid_line() -> None:
    lines = EventLines(TOPIC, [GOOD, '{"document_id": "d"}', GOOD])
    assert len(list(lines)) == 1
    assert lines.problem == "line 2: document.deleted: field 'dataset_id': Field required"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        (GOOD.replace("doc_form", "doc_from"), "'doc_from'.*it has: event_id, "),
        (GOOD.replace("}", ', "colour": "red"}'), "'colour'.*it has: event_id, .*file_id"),
        (GOOD.replace("}", ', "event_id": "x"}'), "'event_id'"),
    ],
)
def test_an_invalid_event_is_described_in_one_line(fields: str, message: str) -> None:
    with pytest.raises(CommandError, match=message) as refused:
        _event(TOPIC, fields)
    assert refused.value.code == WRONG_REQUEST
    assert "\n" not in str(refused.value)


@pytest.mark.requirement("Faults of others", "L2: wrong arguments of any kind are one line, never a traceback")
def test_lines_that_are_not_utf_8_end_the_input() -> None:
    text = io.TextIOWrapper(io.BytesIO(GOOD.encode() + b"\n\xff\xfe\n"), encoding="utf-8")
    lines = EventLines(TOPIC, text)
    assert len(list(lines)) <= 1
    assert lines.problem is not None
    assert "not UTF-8" in lines.problem
