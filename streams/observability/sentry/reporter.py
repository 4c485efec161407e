"""Sends reports to Sentry, each fingerprint at most once a minute. Nothing here ever waits for Sentry but `close`."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import inf
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Protocol, cast

from streams.observability.logs import get_logger
from streams.observability.repeats import LeftOut, Repeats
from streams.observability.sentry.report import Report, sentry_event
from streams.settings.sentry import SentrySettings

if TYPE_CHECKING:
    from sentry_sdk.types import Event

log = get_logger(__name__)
WINDOW_SECONDS = 60.0
"""A fingerprint is sent at most once in so many seconds."""
FINGERPRINTS = 60
"""Fingerprints in one window: a record's headers may name any handler, so there may be any number of them."""
QUEUE = 100
"""Reports that wait to be sent. Further ones are lost, and counted."""
FLUSH_SECONDS = 2.0
"""How long the end of the process may wait for Sentry."""
LONGEST_PAUSE = 1.0
"""Seconds."""


class Client(Protocol):
    """What is used of `sentry_sdk.Client`."""

    def capture_event(self, event: "Event") -> str | None:
        """Queue an event."""

    def close(self, timeout: float | None = None) -> None:
        """Send what is queued within a time, in seconds, and end."""


class SentryReports:
    """The reports of one process. Any thread may report; a thread of its own builds and sends the events."""

    def __init__(self, connect: Callable[[Callable[[str], None]], Client]) -> None:
        """Start the thread.

        Args:
            connect: Returns the client. Its argument is called with the reason for each event that is lost.
        """
        self._repeats = Repeats[Report](1, WINDOW_SECONDS, FINGERPRINTS)
        self._lock = threading.RLock()
        """Reentrant: building a report may log an error, which may be reported."""
        self._queue: Queue[tuple[Report, int] | None] = Queue(QUEUE)
        self._lost: Counter[str] = Counter()
        self._lost_reported_at = -inf
        self._closing = False
        self._client = connect(self._lose)
        self._thread = threading.Thread(target=self._run, name="sentry-reports", daemon=True)
        self._thread.start()

    def report(self, fingerprint: tuple[str, ...], build: Callable[[], Report]) -> None:
        """Report a failure, or count it if one with this fingerprint was sent within the last minute. It never waits.

        Args:
            fingerprint: What is the same for failures of one kind.
            build: Returns the report. It is called at once, and not for each failure that is only counted.
        """
        now = time.monotonic()
        with self._lock:
            self._send_left_out(now)
            admitted = self._repeats.admit(fingerprint, now, build)
        if admitted:
            self._send(build(), 0)

    def close(self, timeout: float = FLUSH_SECONDS) -> None:
        """Send what waits within `timeout` seconds. The numbers of what was left out or lost are logged."""
        started = time.monotonic()
        self._closing = True
        self._send(None)
        self._thread.join(timeout)
        self._client.close(timeout=max(0.0, started + timeout - time.monotonic()))
        if time.monotonic() >= started + timeout:
            log.warning("Sentry did not take the last events in time", seconds=timeout)
        with self._lock:
            left_out = sum(one.count for one in self._repeats.ended(inf))
        if left_out:
            log.info("failures were not sent to Sentry, because others of their kind were", failures=left_out)
        self._log_lost(inf)

    def _send(self, report: Report | None, left_out: int = 0) -> None:
        try:
            self._queue.put_nowait(None if report is None else (report, left_out))
        except Full:
            self._lose("the queue is full")

    def _send_left_out(self, now: float) -> None:
        """Send one event for each window that has ended with failures that were left out. It starts a new window."""
        for one in self._repeats.ended(now):
            if self._repeats.admit(one.kind, now, partial(_first, one)):
                self._send(one.first, one.count - 1)
            else:
                self._lost["too many kinds"] += one.count - 1

    def _run(self) -> None:
        while not self._closing or not self._queue.empty():
            try:
                waiting = self._queue.get(timeout=self._pause())
            except Empty:
                waiting = None
            if waiting is not None:
                self._capture(*waiting)
            if not self._closing:
                with self._lock:
                    self._send_left_out(time.monotonic())
                self._log_lost(time.monotonic())

    def _pause(self) -> float:
        """Return how many seconds nothing has to be done, unless there is another report."""
        with self._lock:
            end = self._repeats.next_end
        return LONGEST_PAUSE if end is None else min(LONGEST_PAUSE, max(0.0, end - time.monotonic()))

    def _capture(self, report: Report, left_out: int) -> None:
        try:
            self._client.capture_event(cast("Event", sentry_event(report, left_out)))
        except Exception as error:  # noqa: BLE001 - this thread has to go on; the number of lost events is logged
            self._lose(type(error).__name__)

    def _lose(self, why: str) -> None:
        with self._lock:
            self._lost[why] += 1

    def _log_lost(self, now: float) -> None:
        """Log how many events were lost and why, at most once a minute."""
        with self._lock:
            if not self._lost or now < self._lost_reported_at + WINDOW_SECONDS:
                return
            lost, self._lost = self._lost, Counter()
            self._lost_reported_at = now
        log.warning("events for Sentry were lost", events=lost.total(), why=", ".join(sorted(lost)))


def _first(one: LeftOut[Report]) -> Report:
    return one.first


def open_reports(settings: SentrySettings) -> SentryReports:
    """Start to report to Sentry. Nothing is sent yet, and Sentry may be away."""
    from streams.observability.sentry.client import connect  # noqa: PLC0415 - the SDK is loaded only where it is used

    return SentryReports(partial(connect, settings))
