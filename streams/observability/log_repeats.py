"""Limits repeated errors in the log: after ten lines a second, one line has the number of the others."""

import logging
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TextIO

import structlog

from streams.observability.error_text import exception_of, type_name
from streams.observability.redaction import redacted
from streams.observability.repeats import LeftOut, Repeats

LINES = 10
"""Lines of one error in one window."""
WINDOW_SECONDS = 1.0
KINDS = 1_000
"""Errors that are counted separately in one window."""
OMITTED = "omitted_lines"
"""The field with the number of lines that were left out."""
_SAME = ("handler", "reason", "error_type")
"""Fields of our lines that must be equal too."""


@dataclass(frozen=True, slots=True)
class RepeatedLine:
    """The line in place of those that are left out. It has no event's values: the lines are of many events."""

    logger: str
    level: int
    text: str
    fields: Mapping[str, str]


class RepeatHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream, of each error at most `LINES` in a second. Nothing is lost silently.

    An error is a line with an exception, or of the level ERROR or above. It is the same error if it comes from the same
    place with the same type of exception. Other lines are always written.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._repeats = Repeats[RepeatedLine](LINES, WINDOW_SECONDS, KINDS)
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or count it. Called with the handler's lock."""
        kind = error_kind(record)
        if kind is None or self._repeats.admit(kind, time.monotonic(), lambda: repeated_line(record)):
            super().emit(record)
        elif self._thread is None:
            self._thread = threading.Thread(target=self._report_windows, name="repeated-log-lines", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Write the numbers of the lines that were left out so far, and close the handler."""
        self._report(inf)
        super().close()

    def _report_windows(self) -> None:
        """Report each window at its end, in a thread that ends when nothing is left out any more."""
        while (end := self._next_end()) is not None:
            time.sleep(max(0.0, end - time.monotonic()))
            self._report(time.monotonic())

    def _next_end(self) -> float | None:
        """Return when the next window ends; None: no thread is needed until another line is left out."""
        self.acquire()
        try:
            if (end := self._repeats.next_end) is None:
                self._thread = None
            return end
        finally:
            self.release()

    def _report(self, now: float) -> None:
        self.acquire()
        try:
            ended = self._repeats.ended(now)
        finally:
            self.release()
        for left_out in ended:
            _log(left_out)


def error_kind(record: logging.LogRecord) -> Hashable | None:
    """Return what is equal for lines about the same error from the same place; None: the line is never left out."""
    text, error = str(record.msg), exception_of(record.exc_info)
    place: tuple[object, ...] = (record.pathname, record.lineno)
    if isinstance(record.msg, dict):
        fields: Mapping[str, object] = record.msg
        if OMITTED in fields:
            return None
        # Our texts are constant. structlog's own module would be the place.
        place = tuple(fields.get(name) for name in _SAME)
        text, error = str(fields.get("event")), exception_of(fields.get("exc_info"))
    if error is None and record.levelno < logging.ERROR:
        return None
    return (record.name, record.levelno, text, None if error is None else type(error), *map(str, place))


def repeated_line(record: logging.LogRecord) -> RepeatedLine:
    """Return the line in place of lines such as this one. Marked values of the task's events are masked."""
    message: Mapping[str, object] = record.msg if isinstance(record.msg, dict) else {"exc_info": record.exc_info}
    fields = {name: str(message[name]) for name in _SAME if message.get(name) is not None}
    if (error := exception_of(message.get("exc_info"))) is not None:
        fields["error_type"] = type_name(error)
    text = redacted(str(message["event"]) if "event" in message else _text(record))
    return RepeatedLine(record.name, record.levelno, text, {name: redacted(value) for name, value in fields.items()})


def _text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's arguments that do not fit its text; its lines showed that
        return str(record.msg)


def _log(left_out: LeftOut[RepeatedLine]) -> None:
    """Log the line with the number of those that were left out."""
    line = left_out.first
    text = line.text if left_out.kind is not None else "more errors than are counted separately"
    fields = {} if left_out.kind is None else line.fields
    structlog.stdlib.get_logger(line.logger).log(line.level, text, **{**fields, OMITTED: left_out.count})
