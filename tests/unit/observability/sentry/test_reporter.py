"""Reports to a server that takes envelopes, and to one that does not: nothing waits, nothing is lost silently."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from streams.observability.error_text import ErrorText
from streams.observability.sentry import reporter
from streams.observability.sentry.report import Report
from streams.observability.sentry.reporter import SentryReports, open_reports
from streams.settings.sentry import SentrySettings
from tests.support.fakes.sentry_server import Refusal, SentryServer, sentry_server
from tests.support.processes.worker_process import free_port, wait_for

LOST = "events for Sentry were lost"


@pytest.fixture
def server() -> Iterator[SentryServer]:
    with sentry_server() as started:
        yield started


def opened(dsn: str) -> SentryReports:
    return open_reports(SentrySettings(dsn=SecretStr(dsn), environment="trial", release="r1"))


def fail(reports: SentryReports, kind: str = "a", number: int = 0) -> None:
    report = Report((kind,), "error", "logger", f"failure {number}", ErrorText("ValueError", "it broke", ""))
    reports.report((kind,), lambda: report)


def counts(server: SentryServer) -> list[tuple[str, int]]:
    """Return the fingerprint of each event and how many it says were left out."""
    return [(event["fingerprint"][0], event["contexts"]["streams"]["left_out"]) for event in server.events]


@pytest.mark.requirement("Sentry", "the same fingerprint at most once a minute, with the number of those left out")
def test_the_same_fingerprint_is_sent_once_in_a_window(server: SentryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next event comes at the window's end, without another failure. Sent and left out make the sum."""
    monkeypatch.setattr(reporter, "WINDOW_SECONDS", 1.0)
    reports = opened(server.dsn)
    try:
        for number in range(50):
            fail(reports, "a", number)
        fail(reports, "b")
        wait_for(lambda: sum(1 + left_out for kind, left_out in counts(server) if kind == "a") == 50, "the sum")
        seen = counts(server)
        assert seen.count(("a", 0)) == 1
        assert ("b", 0) in seen
        assert len(seen) <= 4, "two windows at most, on a slow machine three"
        event = server.events[0]
        assert (event["environment"], event["release"], event["platform"]) == ("trial", "r1", "python")
        assert not event.get("modules")
        assert event["sdk"]["integrations"] == []
    finally:
        reports.close()


@pytest.mark.requirement("Sentry", "Sentry away or hanging never slows a worker nor its stop")
@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Refusal(429, {"Retry-After": "60"}), "Sentry asks to wait"),
        (Refusal(500), "status_500"),
        (Refusal(302, {"Location": "http://127.0.0.1:1/"}), "status_302"),
        (Refusal(raw=b"\x00\xff garbage\r\n\r\n"), "Sentry cannot be reached"),
    ],
    ids=["429", "500", "redirect", "garbage"],
)
def test_an_event_that_sentry_does_not_take_is_lost_loudly(server: SentryServer, refusal: Refusal, why: str) -> None:
    server.always = refusal
    with capture_logs() as lines:
        reports = opened(server.dsn)
        fail(reports)
        wait_for(lambda: any(line["event"] == LOST and why in line["why"] for line in lines), "the line about the loss")
        reports.close()
    assert len(server.envelopes) == 1, "it was sent once"


def test_after_a_429_nothing_is_sent_until_sentry_allows_it(server: SentryServer) -> None:
    server.refusals.append(Refusal(429, {"Retry-After": "2"}))
    with capture_logs() as lines:
        reports = opened(server.dsn)
        fail(reports, "first")
        wait_for(lambda: any(line["event"] == LOST for line in lines), "the loss of the first")
        for number in range(10):
            fail(reports, f"early {number}")
        began = time.monotonic()

        def sent() -> bool:
            fail(reports, f"late {time.monotonic()}")
            return bool(server.events)

        wait_for(sent, "an event after the pause", 20)
        reports.close()
    assert time.monotonic() - began > 0.5
    assert not [kind for kind, _ in counts(server) if kind == "first"]


@pytest.mark.requirement("Sentry", "Sentry away or hanging never slows a worker nor its stop")
@pytest.mark.parametrize("fault", ["silent", "away"])
def test_reporting_never_waits_and_closing_waits_for_a_bounded_time(fault: str, server: SentryServer) -> None:
    """A thousand failures of a thousand kinds: most are only counted. Memory is bounded."""
    server.always = Refusal(silent=True)
    dsn = server.dsn if fault == "silent" else f"http://key@127.0.0.1:{free_port()}/1"
    with capture_logs() as lines:
        reports = opened(dsn)
        began = time.process_time()
        slowest = 0.0
        for number in range(1_000):
            started = time.thread_time()
            fail(reports, f"kind {number}", number)
            slowest = max(slowest, time.thread_time() - started)
        assert slowest < 1
        assert time.process_time() - began < 5
        closing = time.monotonic()
        reports.close(0.5)
        assert time.monotonic() - closing < 10, "half a second on an idle machine"
    told = {line["event"]: line for line in lines}
    left_out = told["failures were not sent to Sentry, because others of their kind were"]
    assert left_out["failures"] == 1_000 - reporter.FINGERPRINTS - 1
    assert ("Sentry did not take the last events in time" if fault == "silent" else LOST) in told


def test_the_sdk_logs_nothing_and_hooks_nothing(server: SentryServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Its client is not the process's: `sys.excepthook`, logging and threads stay as they are."""
    hook, handlers = sys.excepthook, list(logging.getLogger().handlers)
    reports = opened(server.dsn)
    server.always = Refusal(500, body=b"garbage \x1b[31m")
    fail(reports)
    wait_for(lambda: server.envelopes, "the event")
    reports.close()
    assert sys.excepthook is hook
    assert logging.getLogger().handlers == handlers
    assert "garbage" not in capfd.readouterr().err


@pytest.mark.requirement("Sentry", "without a DSN nothing of the SDK is loaded")
def test_without_a_dsn_the_sdk_is_not_loaded() -> None:
    code = (
        "import sys, json, streams.bootstrap; streams.bootstrap.build_app();"
        "print(json.dumps([name for name in sys.modules if name.startswith('sentry_sdk')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert json.loads(done.stdout.splitlines()[-1]) == []
