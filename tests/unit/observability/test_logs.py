"""Log lines for machines and for people."""

import asyncio
import json
import logging
import sys

import pytest
from structlog.testing import capture_logs

from streams.observability.logs import (
    apply_log_level,
    bind_delivery,
    configure_logging,
    delivery_context,
    get_logger,
    log_level,
)
from streams.observability.redaction import Redactor
from streams.settings import Settings

Lines = pytest.CaptureFixture[str]


def lines(captured: Lines) -> list[dict[str, object]]:
    """The JSON lines on stderr. Nothing may be on stdout, where commands print their results."""
    out, err = captured.readouterr()
    assert out == ""
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.requirement("Logs and metrics", "every line of a delivery has its fields; JSON, or readable")
def test_a_delivery_is_on_every_line_of_it(capsys: Lines) -> None:
    """Our lines, a library's lines, and those of tasks started in the context. Not the line after it."""
    configure_logging(Settings(log_format="json"))
    log = get_logger("streams.test")

    async def step() -> None:
        logging.getLogger("psycopg").warning("slow %s", "query")

    async def deliver() -> None:
        with delivery_context(
            event_id="e1", topic="t", partition=2, offset=7, handler="h", attempt=3, tenant_id="tenant"
        ):
            log.info("started", pages=4)
            await asyncio.create_task(step())
        log.info("after")

    asyncio.run(deliver())
    started, slow, after = lines(capsys)
    delivery = {
        "event_id": "e1",
        "topic": "t",
        "partition": 2,
        "offset": 7,
        "handler": "h",
        "attempt": 3,
        "tenant_id": "tenant",
    }
    assert delivery.items() <= started.items()
    assert delivery.items() <= slow.items()
    assert not delivery.keys() & after.keys()
    assert (started["message"], started["level"], started["logger"], started["pages"]) == (
        "started",
        "info",
        "streams.test",
        4,
    )
    assert (slow["message"], slow["level"], slow["logger"]) == ("slow query", "warning", "psycopg")
    assert str(started["timestamp"]).endswith("Z")


def test_deliveries_beside_each_other_do_not_mix(capsys: Lines) -> None:
    """Each task has its own fields."""
    configure_logging(Settings(log_format="json"))
    log = get_logger("streams.test")

    async def deliver(number: int, turn: asyncio.Barrier) -> None:
        with delivery_context(
            event_id=str(number), topic="t", partition=0, offset=number, handler="h", attempt=1, tenant_id=None
        ):
            await turn.wait()
            log.info("running", number=number)

    async def both() -> None:
        turn = asyncio.Barrier(2)
        await asyncio.gather(deliver(1, turn), deliver(2, turn))

    asyncio.run(both())
    assert sorted((line["number"], line["event_id"]) for line in lines(capsys)) == [(1, "1"), (2, "2")]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_our_lines_have_their_fields_whichever_logger_writes_them(log_format: str, capsys: Lines) -> None:
    """Modules that use no structlog pass fields as `extra`. Without them, a line would not say which topic it means."""
    configure_logging(Settings.model_validate({"log_format": log_format}))
    logging.getLogger("streams.transport.kafka").error("unreadable", extra={"topic": "a.created", "partition": 3})
    logging.getLogger("aiohttp.access").error("of a library", extra={"request_size": 77})
    unreadable, library = capsys.readouterr().err.splitlines()
    assert "a.created" in unreadable
    assert "77" not in library
    if log_format == "json":
        assert {"topic": "a.created", "partition": 3}.items() <= json.loads(unreadable).items()
        assert "_record" not in json.loads(unreadable)


def test_exceptions_are_told_in_fields(capsys: Lines) -> None:
    """With our logger and with the standard library's."""
    configure_logging(Settings(log_format="json"))
    try:
        int("two\nlines")
    except ValueError as error:
        get_logger("streams.test").exception("failed")
        logging.getLogger("library").exception("failed")
        get_logger("streams.test").warning("failed", exc_info=error)
    for line in lines(capsys):
        assert (line["error_type"], line["error_message"]) == (
            "ValueError",
            r"invalid literal for int() with base 10: 'two\nlines'",
        )
        assert "test_logs.py" in str(line["stack"])
        assert "exc_info" not in line


def test_libraries_are_quiet_unless_debugging(capsys: Lines) -> None:
    """Faust logs one line per service at level info."""
    configure_logging(Settings(log_format="json"))
    logging.getLogger("mode.services").info("starting")
    get_logger("streams.test").debug("detail")
    assert lines(capsys) == []
    configure_logging(Settings(log_format="json", log_level="debug"))
    logging.getLogger("mode.services").info("starting")
    get_logger("streams.test").debug("detail")
    assert [line["message"] for line in lines(capsys)] == ["starting", "detail"]


def test_auto_is_json_where_no_terminal_reads(capsys: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are readable on a terminal."""
    configure_logging(Settings())
    get_logger("streams.test").info("hello", a=1)
    assert [line["a"] for line in lines(capsys)] == [1]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    configure_logging(Settings())
    get_logger("streams.test").info("hello", a=1)
    with pytest.raises(json.JSONDecodeError):
        lines(capsys)


@pytest.mark.requirement("Logs and metrics", "every line of a delivery has its fields; JSON, or readable")
def test_the_readable_format_has_the_fields_too(capsys: Lines) -> None:
    """One line, without colours if it is not a terminal."""
    configure_logging(Settings(log_format="console"))
    with delivery_context(event_id="e1", topic="t", partition=2, offset=7, handler="h", attempt=3, tenant_id=None):
        get_logger("streams.test").info("started")
    (line,) = capsys.readouterr().err.splitlines()
    assert "started" in line
    assert "event_id=e1" in line
    assert "\x1b" not in line


@pytest.mark.requirement("Personal data", "masked in logs, ours and libraries', as JSON and on a terminal")
def test_marked_values_are_masked_on_every_line_of_a_delivery(capsys: Lines) -> None:
    """In messages, fields and exceptions, ours and a library's. The fields that identify the event stay."""
    for wanted in ("json", "console"):
        configure_logging(Settings(log_format="json" if wanted == "json" else "console", log_level="info"))
        scrub = Redactor(lambda: ["ada@example.org", "493817"])
        bind_delivery(lambda: {"event_id": "e-493817", "handler": "greet"}, scrub)
        try:
            get_logger("mine").info("greeting ada@example.org", code="493817", seen=["ada@example.org", 1])
            logging.getLogger("theirs").warning("sent to %s", "ada@example.org")
            get_logger("mine").error("failed", exc_info=ValueError("493817 is refused"))
        finally:
            bind_delivery(dict)
        get_logger("mine").info("493817 of nobody")
        told = capsys.readouterr().err
        assert "ada@example.org" not in told
        assert told.count("493817") == told.count("e-493817") + 1
        assert "*** is refused" in told
        assert "493817 of nobody" in told


def test_a_logger_in_use_follows_what_is_configured_next(capsys: Lines) -> None:
    """Its level, its format, and what captures its lines in a test."""
    log = get_logger("streams.test")
    configure_logging(Settings(log_format="json", log_level="error"))
    log.info("not told")
    configure_logging(Settings(log_format="console"))
    log.info("told")
    assert "told" in capsys.readouterr().err.split()
    configure_logging(Settings(log_format="json"))
    with capture_logs() as captured:
        log.info("captured")
    assert [line["event"] for line in captured] == ["captured"]


HOSTILE = "\x1b[31m\x9b2J\u202e [bold]x[/x] \ud800"


@pytest.mark.requirement("Faults of others", "M2: no table, error or log line passes control characters to a terminal")
@pytest.mark.parametrize("log_format", ["console", "json"])
def test_control_characters_do_not_reach_the_terminal(log_format: str, capsys: Lines) -> None:
    """Those of fields, of messages of libraries, and of exceptions with their causes."""
    configure_logging(Settings.model_validate({"log_format": log_format}))
    log = get_logger("streams.test")
    log.warning("a fixed text", dataset=HOSTILE, names=[HOSTILE])
    logging.getLogger("psycopg").warning("bad %s", HOSTILE)
    try:
        raise ValueError(HOSTILE) from RuntimeError(f"{HOSTILE}\nsecond line")  # noqa: TRY301 - it is logged
    except ValueError:
        log.exception("it failed")
    out, err = capsys.readouterr()
    assert out == ""
    assert [character for character in err if character != "\n" and not character.isprintable()] == []
    assert "[bold]x[/x]" in err
    if log_format == "console":
        assert "\\x1b[31m\\x9b2J\\u202e" in err
        assert any(line.endswith("second line") for line in err.splitlines())


@pytest.mark.requirement("Logs", "the level changes at run time without a restart")
def test_the_level_changes_while_the_process_runs(capsys: Lines) -> None:
    """For loggers in use, ours and libraries', in both directions. The stream stays, even if Faust has replaced it."""
    configure_logging(Settings(log_format="json"))
    log, library = get_logger("streams.test"), logging.getLogger("mode.services")
    told = []
    for level in ("warning", "debug", "error", "info"):
        apply_log_level(level)
        assert log_level() == level
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)(f"ours at {name}")
            getattr(library, name)(f"theirs at {name}")
        told.append([str(line["message"]) for line in lines(capsys)])
    assert told[0] == ["ours at warning", "theirs at warning", "ours at error", "theirs at error"]
    assert len(told[1]) == 8
    assert told[2] == ["ours at error", "theirs at error"]
    assert told[3] == ["ours at info", *told[0]]
