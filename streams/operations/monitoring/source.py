"""Reads one source, Kafka or the database, again and again in a thread of its own, and keeps the last result."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from streams.database import DatabaseNotMigratedError, DatabaseUnavailableError
from streams.observability.error_text import message
from streams.observability.logs import get_logger
from streams.operations.kafka_admin import KafkaRefusedError
from streams.settings import SettingsError
from streams.transport.kafka.errors import BrokersUnreachableError

T = TypeVar("T")

log = get_logger(__name__)
SHORTEST_PAUSE = 0.1
"""Seconds between the end of a reading and the next one, also if a reading takes longer than the interval."""
_AWAY = (
    BrokersUnreachableError,
    KafkaRefusedError,
    DatabaseUnavailableError,
    DatabaseNotMigratedError,
    SettingsError,
)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """The result of one reading."""

    value: T | None
    """None: it failed."""
    error: str | None
    """Why it failed, in one line."""
    seconds: float
    """How long it took."""
    ended: float
    """When it ended, by the monotonic clock."""


class Source(Generic[T]):
    """A source and its thread. The thread is a daemon: a request that hangs does not keep the process from ending."""

    def __init__(self, name: str, read: Callable[[], T], interval: float, *, longest: float) -> None:
        """Describe a source that is not read yet.

        Args:
            name: Its name in logs and metrics.
            read: Reads it once, and blocks.
            interval: Seconds between the starts of two readings.
            longest: Seconds that a reading may take before its predecessor is no longer shown.
        """
        self.name = name
        self._read = read
        self._interval = interval
        self._longest = interval + longest
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._last: Reading[T] | None = None
        self._number = 0
        self._thread = threading.Thread(target=self._run, name=f"read-{name}", daemon=True)

    def start(self) -> None:
        """Read for the first time, in the background."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Stop reading. Waits at most so many seconds for a reading that is under way."""
        self._stop.set()
        self._thread.join(seconds)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def last(self) -> Reading[T] | None:
        """Return the last reading. None: the first one is under way.

        A reading that is too old, because the next one hangs, is a failed one: its figures are not the present ones.
        """
        last = self._last
        if last is None or time.monotonic() - last.ended <= self._longest:
            return last
        return Reading(None, last.error or "no answer in time", time.monotonic() - last.ended, last.ended)

    def wait(self, number: int, seconds: float) -> bool:
        """Wait until so many readings have ended, for at most so many seconds. Returns whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: self._number >= number, seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            reading = self._read_once(begun)
            self._report(reading)
            with self._changed:
                self._last = reading
                self._number += 1
                self._changed.notify_all()
            self._stop.wait(max(SHORTEST_PAUSE, begun + self._interval - time.monotonic()))

    def _read_once(self, begun: float) -> Reading[T]:
        value, error = None, None
        try:
            value = self._read()
        except _AWAY as away:
            error = str(away)
        except Exception as unexpected:
            log.exception("a source cannot be read", source=self.name)
            error = message(unexpected)
        ended = time.monotonic()
        return Reading(value, error, ended - begun, ended)

    def _report(self, reading: Reading[T]) -> None:
        """Log that the source failed or answers again: once, not at each reading."""
        failed = self._last is not None and self._last.error is not None
        if reading.error is not None and not failed:
            log.warning("source does not answer; its figures are left out", source=self.name, error=reading.error)
        elif reading.error is None and failed:
            log.info("source answers again", source=self.name)
