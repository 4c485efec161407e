"""A run in which a test of the acceptance page was skipped is no passed run."""

import signal

import pytest
from hypothesis import settings

from tests.support.pages import accepted_tests

# A property is about values; how long an example takes on a busy machine says nothing about it.
settings.register_profile("values", deadline=None)
settings.load_profile("values")

# In the background of a script Ctrl-C is ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what was skipped, whatever the reason; an expected failure is reported the same way."""
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that skips itself hides all of its tests."""
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run."""
    if _accepted_but_skipped() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why."""
    for name in _accepted_but_skipped():
        terminalreporter.write_line(f"SKIPPED, though docs/acceptance.md rests on it: {name}", red=True)


def _accepted_but_skipped() -> list[str]:
    accepted = accepted_tests()
    modules = {name.partition("::")[0] for name in accepted}
    return [nodeid for nodeid in _skipped if nodeid in modules or any(map(nodeid.startswith, accepted))]
