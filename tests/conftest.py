"""All tests: their order, and that a run in which a test of the acceptance page was skipped is no passed run."""

import logging
import os
import random
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.support.pages import accepted_tests

# In the background of a script Ctrl-C is ignored, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Some hundred processes are started, and each would compile all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_skipped: list[str] = []


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Logging belongs to the whole run: what a test configures ends with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    if "structlog" in sys.modules:
        import structlog  # noqa: PLC0415 - not where no test has needed it

        from streams.observability.logs import forget_cached  # noqa: PLC0415 - as above

        structlog.reset_defaults()
        forget_cached()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--shuffle SEED`."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run all tests in a random order, the same per seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests of all modules together: none may need another, before it or out of its way."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


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
    if "hypothesis" not in sys.modules and not session.config.getoption("numprocesses", None):
        # For its summary the plugin would load the library, which takes a second, and then have nothing to say.
        session.config.pluginmanager.unregister(name="hypothesispytest")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why."""
    for name in _accepted_but_skipped():
        terminalreporter.write_line(f"SKIPPED, though docs/acceptance.md rests on it: {name}", red=True)


def _accepted_but_skipped() -> list[str]:
    accepted = accepted_tests()
    modules = {name.partition("::")[0] for name in accepted}
    return [nodeid for nodeid in _skipped if nodeid in modules or any(map(nodeid.startswith, accepted))]
