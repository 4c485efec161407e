"""Hooks for all tests: random order, and the failure of a run that skipped a test of the acceptance page."""

import gc
import logging
import os
import random
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import accepted_tests

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler.protocol import Scheduling

# The background jobs of a script ignore SIGINT, and the processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The tests start hundreds of processes, and each would compile all modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# While tests are collected there is no garbage, and the collector takes a tenth of the time.
gc.disable()

_skipped: list[str] = []


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Restore the logging configuration after each test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    if "structlog" in sys.modules:
        import structlog  # noqa: PLC0415 - only if a test has loaded it

        from streams.observability.logs import forget_cached  # noqa: PLC0415 - as above

        structlog.reset_defaults()
        forget_cached()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--shuffle SEED`."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run all tests in a random order, the same per seed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle the tests of all modules together: no test may depend on another one."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        random.Random(seed).shuffle(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> "Scheduling | None":
    """Give the files that break servers to one process. The other modes of distribution stay as they are."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.support.local_stack.file_scheduling import FilesOfOneStack  # noqa: PLC0415 - only in a run of processes

    return FilesOfOneStack(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave the modules and the collected tests out of the garbage collector, which took a tenth of the tests' time."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 50)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record skipped tests. An expected failure is reported in the same way."""
    if report.skipped:
        _skipped.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Record skipped modules: none of their tests is reported."""
    if report.skipped:
        _skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run if a test of the acceptance page was skipped."""
    if _accepted_but_skipped() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if "hypothesis" not in sys.modules and not session.config.getoption("numprocesses", None):
        # The plugin would load the library for its empty summary, which takes a second.
        session.config.pluginmanager.unregister(name="hypothesispytest")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the skipped tests that made the run fail."""
    for name in _accepted_but_skipped():
        terminalreporter.write_line(f"SKIPPED, but docs/acceptance.md names it: {name}", red=True)


def _accepted_but_skipped() -> list[str]:
    accepted = accepted_tests()
    modules = {name.partition("::")[0] for name in accepted}
    return [nodeid for nodeid in _skipped if nodeid in modules or any(map(nodeid.startswith, accepted))]
