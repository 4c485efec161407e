"""Which log lines are failures of the engine itself, and what Sentry gets about them."""

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from streams.observability.logs import bind_delivery, configure_logging, get_logger
from streams.observability.redaction import Redactor
from streams.observability.sentry.engine_failures import EngineFailures
from streams.observability.sentry.report import Report
from streams.observability.sentry.reporter import SentryReports
from streams.settings import Settings

ours = get_logger("streams.delivery.engine")


class Kept(SentryReports):
    """Keeps reports instead of sending them."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def report(self, fingerprint: tuple[str, ...], build: Callable[[], Report]) -> None:
        self.reports.append(build())
        assert self.reports[-1].fingerprint == fingerprint


@pytest.fixture
def kept() -> Iterator[Kept]:
    configure_logging(Settings(log_format="json"))
    reports = Kept()
    handler = EngineFailures(reports)
    logging.getLogger().addHandler(handler)
    yield reports
    logging.getLogger().removeHandler(handler)


@pytest.mark.requirement("Sentry", "one event for each failure of the engine itself")
def test_errors_and_critical_lines_of_the_engine_are_reported(kept: Kept) -> None:
    """Ours, those of Faust and asyncio; in an exception's place also an argument of the text."""
    ours.critical("background task crashed", exc_info=ValueError("a"))
    ours.error("settlement failed", exc_info=ProgrammingError("select 1", {"secret": "x"}, Exception("no table")))
    logging.getLogger("mode.services").error("Crashed reason=%r", KeyError("b"), exc_info=KeyError("b"))
    logging.getLogger("streams.transport.faust.app").critical("the worker stops: %s", RuntimeError("c"))
    logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=TypeError("d"))
    ours.critical("a fatal state without an exception")
    assert [(one.level, one.error.type_name) for one in kept.reports] == [
        ("fatal", "ValueError"),
        ("error", "sqlalchemy.exc.ProgrammingError"),
        ("error", "KeyError"),
        ("fatal", "RuntimeError"),
        ("error", "TypeError"),
        ("fatal", "streams.delivery.engine"),
    ]
    assert kept.reports[1].error.message == "no table"
    assert kept.reports[3].message == "the worker stops: c"


def test_other_lines_are_not(kept: Kept) -> None:
    """Dead letters have their own event; handlers, outages and the end of the process are no failures of the engine."""
    ours.error("dead letter", reason="fatal")
    ours.error("on_dead failed", exc_info=ValueError(), fault="handler")
    ours.warning("attempt failed", exc_info=ValueError())
    ours.error("the relay failed", exc_info=OperationalError("select 1", {}, Exception("server closed")))
    ours.error("cannot connect", exc_info=ConnectionRefusedError())
    logging.getLogger("mode.worker").error("stopped", exc_info=SystemExit(1))
    logging.getLogger("mode.worker").critical("stopped", exc_info=asyncio.CancelledError())
    for name in ("my.package", "streams.agents.apps", "streams.dify.http", "streamsible", "sqlalchemy.pool"):
        logging.getLogger(name).error("failed", exc_info=ValueError())
    assert kept.reports == []


def test_one_failure_on_several_lines_is_one_event(kept: Kept) -> None:
    error = ValueError("once")
    ours.critical("background task crashed", exc_info=error)
    logging.getLogger("streams.transport.faust.app").critical("the worker stops: %s", error)
    assert len(kept.reports) == 1


@pytest.mark.requirement("Personal data", "marked values never get to Sentry")
def test_marked_values_are_masked(kept: Kept) -> None:
    bind_delivery(
        lambda: {"event_id": "e1", "handler": "greet", "tenant_id": "t"}, Redactor(lambda: ["ada@example.org"])
    )
    try:
        ours.error("cannot settle for ada@example.org", exc_info=ValueError("ada@example.org"), who="ada@example.org")
        logging.getLogger("streams.x").critical("no %s", "ada@example.org")
    finally:
        bind_delivery(dict)
    assert "ada@example.org" not in repr([(one.message, one.error, one.tags, one.details) for one in kept.reports])
    assert kept.reports[0].error.message == "***"
    assert (kept.reports[0].tags["handler"], kept.reports[0].details["event_id"]) == ("greet", "e1")


def test_a_line_with_wrong_arguments_breaks_nothing(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logging.getLogger("streams.x").critical("%d of %d", "one")  # noqa: PLE1206 - the fault
    assert kept.reports == []
