"""Repeated errors in the log: ten lines a second, then one line with the number of the others."""

import json
import logging

import pytest

from streams.observability import log_repeats
from streams.observability.log_repeats import LINES, RepeatHandler
from streams.observability.logs import bind_delivery, configure_logging, get_logger
from streams.observability.redaction import Redactor
from streams.settings import Settings
from tests.support.processes.worker_process import wait_for

Captured = pytest.CaptureFixture[str]
Line = dict[str, object]
log = get_logger("streams.test")


def log_json(monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    """Log JSON with a new handler. With `monkeypatch`, its windows end only when it is closed."""
    if monkeypatch is not None:
        monkeypatch.setattr(log_repeats, "WINDOW_SECONDS", 600.0)
    configure_logging(Settings(log_format="json"))


def closed_lines(captured: Captured) -> list[Line]:
    """Close the handler, as the end of the process does, and return all lines."""
    (handler,) = (one for one in logging.getLogger().handlers if isinstance(one, RepeatHandler))
    handler.close()
    return [json.loads(line) for line in captured.readouterr().err.splitlines()]


def fail(text: str = "it failed", error: Exception | None = None, **fields: object) -> None:
    log.error(text, exc_info=error, **fields)


@pytest.mark.requirement("Logs", "the same error more than ten times a second is one line with a count, none is lost")
def test_the_line_with_the_count_comes_at_the_end_of_the_second(capsys: Captured) -> None:
    """Without another line and without the end of the process."""
    log_json()
    for number in range(50):
        fail(error=ValueError(f"number {number}"))
    seen: list[Line] = []

    def last() -> Line | None:
        seen.extend(json.loads(line) for line in capsys.readouterr().err.splitlines())
        return next((line for line in seen if "omitted_lines" in line), None)

    line = wait_for(last, "the line with the count")
    assert line is not None
    others = [one for one in seen if one is not line]
    assert len(others) == LINES == 10
    assert {one["error_message"] for one in others} == {f"number {number}" for number in range(10)}
    assert (line["message"], line["level"], line["logger"], line["error_type"], line["omitted_lines"]) == (
        "it failed",
        "error",
        "streams.test",
        "ValueError",
        40,
    )
    assert not line.keys() & {"error_message", "stack"}


def test_other_errors_and_other_lines_are_not_counted_with_it(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each type, text, handler and reason has its own count. Lines without an error are never left out."""
    log_json(monkeypatch)
    for _ in range(15):
        fail(error=ValueError("one"))
        fail(error=KeyError("two"))
        fail("dead letter", reason="decode", error_type="A")
        fail("dead letter", reason="fatal", error_type="A")
        logging.getLogger("library").error("library's %s", "error")
        log.warning("attempt failed", exc_info=OSError())
        log.warning("no error here")
        log.info("no error here")
    lines = closed_lines(capsys)
    counts = [line for line in lines if "omitted_lines" in line]
    assert [line["omitted_lines"] for line in counts] == [5] * 6
    assert [(line["message"], line.get("reason"), line["level"]) for line in counts] == [
        ("it failed", None, "error"),
        ("it failed", None, "error"),
        ("dead letter", "decode", "error"),
        ("dead letter", "fatal", "error"),
        ("library's error", None, "error"),
        ("attempt failed", None, "warning"),
    ]
    assert sum(line["message"] == "no error here" for line in lines) == 30
    assert len(lines) == 30 + 6 * 11


def test_the_end_of_the_process_and_a_new_configuration_lose_no_count(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_json(monkeypatch)
    for _ in range(12):
        fail()
    configure_logging(Settings(log_format="json"))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line.get("omitted_lines") for line in lines] == [None] * 10 + [2]


@pytest.mark.requirement("Personal data", "masked in logs, ours and libraries', as JSON and on a terminal")
def test_the_line_with_the_count_has_no_value_of_an_event(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written outside of the deliveries, so it was masked before, and it has no event's fields."""
    log_json(monkeypatch)
    bind_delivery(lambda: {"event_id": "e", "handler": "greet"}, Redactor(lambda: ["ada@example.org"]))
    try:
        for _ in range(12):
            fail("cannot greet ada@example.org", error=ValueError("ada@example.org"))
            logging.getLogger("library").error("cannot reach %s", "ada@example.org")
    finally:
        bind_delivery(dict)
    lines = closed_lines(capsys)
    assert "ada@example.org" not in json.dumps(lines)
    counts = [line for line in lines if "omitted_lines" in line]
    assert [line["message"] for line in counts] == ["cannot greet ***", "cannot reach ***"]
    assert "event_id" not in counts[0]
    assert counts[0]["handler"] == "greet"


def test_a_library_s_line_with_wrong_arguments_breaks_nothing(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_json(monkeypatch)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    for _ in range(12):
        logging.getLogger("library").error("%d of %d", "one")  # noqa: PLE1206 - the fault
    (line,) = closed_lines(capsys)
    assert (line["message"], line["omitted_lines"]) == ("%d of %d", 2)


def test_too_many_kinds_of_errors_share_a_count(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile record may make the text of an error. Memory stays bounded."""
    monkeypatch.setattr(log_repeats, "KINDS", 3)
    log_json(monkeypatch)
    for number in range(100):
        fail(f"error {number}")
    *others, line = closed_lines(capsys)
    assert len(others) == 13
    assert (line["message"], line["omitted_lines"]) == ("more errors than are counted separately", 87)
