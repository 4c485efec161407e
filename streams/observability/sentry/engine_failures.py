"""Finds the failures of the engine itself in the log, and reports them to Sentry.

A failure of the engine is a critical line, or an error with an exception, of the pipeline, of Faust or of asyncio.
These are not:

- failures of handlers, which have the field `fault`. Their deliveries are retried or become dead letters;
- outages of the database and of other servers, which breakers, health and alerts report;
- a worker that refuses to start: it says so in one line, and exits. An exception while it opens its resources is a
  failure of the engine.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy.exc import InterfaceError, OperationalError

from streams.observability.error_text import ErrorText, describe, exception_of, type_name
from streams.observability.redaction import redacted
from streams.observability.sentry.report import Report
from streams.observability.sentry.reporter import SentryReports, open_reports
from streams.settings.sentry import SentrySettings

FAULT = "fault"
"""The field of lines about a fault that is not the engine's, with whose fault it is."""
_ENGINE = ("streams", "faust", "mode", "asyncio")
_NOT_ENGINE = ("streams.agents", "streams.dify", "streams.observability.sentry")
_OUTAGES = (OSError, TimeoutError, OperationalError, InterfaceError)
_ENDINGS = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)
_TAGS = ("handler", "topic")
_DETAILS = ("event_id", "partition", "offset", "attempt")
_REPORTED = "_streams_reported"
"""The attribute of an exception that was reported: several lines may be about one failure."""


class EngineFailures(logging.Handler):
    """A log handler that reports failures of the engine."""

    def __init__(self, reports: SentryReports) -> None:
        super().__init__(logging.ERROR)
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        """Report a line if it is about a failure of the engine."""
        try:
            error = error_of(record)
            if not is_engine_failure(record, error):
                return
            if error is not None:
                if _REPORTED in vars(error):
                    return
                setattr(error, _REPORTED, True)
            self._reports.report(fingerprint(record, error), partial(engine_report, record, error))
        except Exception:  # noqa: BLE001 - what a log handler must do: it prints the error, the line's caller goes on
            self.handleError(record)


@contextmanager
def sentry_reports(settings: SentrySettings | None) -> Iterator[SentryReports | None]:
    """Report failures of the engine to Sentry within the block, and yield what reports other failures.

    An exception that ends the block is reported too. The end of the block waits for Sentry for a bounded time. With
    None, nothing is reported.
    """
    if settings is None:
        yield None
        return
    reports, root = open_reports(settings), logging.getLogger()
    failures = EngineFailures(reports)
    root.addHandler(failures)
    try:
        yield reports
    except Exception as error:
        if not isinstance(error, _OUTAGES):
            failures.handle(_line_of(error))
        raise
    finally:
        root.removeHandler(failures)
        reports.close()


def _line_of(error: Exception) -> logging.LogRecord:
    """Return the line about an exception that ends the process. It is not logged: the caller does that."""
    return logging.makeLogRecord(
        {
            "name": "streams.runtime",
            "levelno": logging.CRITICAL,
            "msg": "the worker failed",
            "exc_info": (type(error), error, error.__traceback__),
        }
    )


def error_of(record: logging.LogRecord) -> BaseException | None:
    """Return the exception of a line, also one that is an argument of its text."""
    if isinstance(record.msg, dict):
        return exception_of(record.msg.get("exc_info"))
    if (error := exception_of(record.exc_info)) is not None:
        return error
    arguments = record.args if isinstance(record.args, tuple) else ()
    return next((one for one in arguments if isinstance(one, BaseException)), None)


def is_engine_failure(record: logging.LogRecord, error: BaseException | None) -> bool:
    """Return whether a line is about a failure of the engine itself."""
    if not _is_of(record.name, _ENGINE) or _is_of(record.name, _NOT_ENGINE):
        return False
    if isinstance(record.msg, dict) and FAULT in record.msg:
        return False
    if isinstance(error, _ENDINGS):
        return False
    if record.levelno >= logging.CRITICAL:
        return True
    return record.levelno >= logging.ERROR and error is not None and not isinstance(error, _OUTAGES)


def fingerprint(record: logging.LogRecord, error: BaseException | None) -> tuple[str, ...]:
    """Return what is the same for failures of one kind: the logger, the text without values, the exception class."""
    text = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
    return ("engine", record.name, str(text), "" if error is None else type_name(error))


def engine_report(record: logging.LogRecord, error: BaseException | None) -> Report:
    """Return the report about a line. Its texts are masked for the current task, as the line is."""
    fields = record.msg if isinstance(record.msg, dict) else {}
    text = redacted(str(fields.get("event")) if fields else record.getMessage())
    return Report(
        fingerprint=fingerprint(record, error),
        level="fatal" if record.levelno >= logging.CRITICAL else "error",
        logger=record.name,
        message=text,
        error=ErrorText(record.name, text, "") if error is None else describe(error),
        tags={"kind": "engine", **{name: str(fields[name]) for name in _TAGS if fields.get(name) is not None}},
        details={name: str(fields[name]) for name in _DETAILS if fields.get(name) is not None},
    )


def _is_of(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
