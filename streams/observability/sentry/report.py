"""What is reported to Sentry, and the event that Sentry gets. Pure, without the SDK and without I/O.

The texts come masked, from `streams.observability.error_text`. No frame of the process is read: the stack is parsed
from the masked text of the error, so an event has no values of variables.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from streams.observability.error_text import ErrorText
from streams.observability.printable import escape_line

LONGEST_TAG = 200
"""Characters, Sentry's limit."""
_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}")
_MARKERS = re.compile(r"[\s~^]*")


@dataclass(frozen=True, slots=True)
class Breadcrumb:
    """An attempt before the failure."""

    message: str
    attempt: int
    at: datetime | None
    """None: unknown."""


@dataclass(frozen=True, slots=True)
class Report:
    """One failure. Its texts are masked."""

    fingerprint: tuple[str, ...]
    """Sentry makes one issue of the events with the same fingerprint."""
    level: Literal["error", "fatal"]
    logger: str
    message: str
    error: ErrorText
    transaction: str | None = None
    """What ran: the handler."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What one searches for in Sentry."""
    details: Mapping[str, str | int | None] = field(default_factory=dict)
    breadcrumbs: Sequence[Breadcrumb] = ()
    """The oldest first."""
    traceparent: bytes | None = None
    at: datetime = field(default_factory=lambda: datetime.now(tz=UTC))


def sentry_event(report: Report, left_out: int = 0) -> dict[str, object]:
    """Return the event for Sentry.

    Args:
        report: The failure.
        left_out: The number of failures with the same fingerprint that were not sent since the event before.
    """
    contexts: dict[str, object] = {"streams": {**report.details, "left_out": left_out}}
    if (trace := _trace(report.traceparent)) is not None:
        contexts["trace"] = trace
    event: dict[str, object] = {
        "level": report.level,
        "logger": report.logger,
        "platform": "python",
        "timestamp": report.at.isoformat(),
        "fingerprint": list(report.fingerprint),
        "logentry": {"formatted": report.message},
        "exception": {"values": exceptions(report.error)},
        "tags": {name: _tag(value) for name, value in report.tags.items() if value},
        "contexts": contexts,
        "breadcrumbs": {"values": [_breadcrumb(one) for one in report.breadcrumbs]},
    }
    if report.transaction is not None:
        event["transaction"] = _tag(report.transaction)
    return event


def exceptions(error: ErrorText) -> list[dict[str, object]]:
    """Return Sentry's list of exceptions, causes first, from the text of an error and its stack."""
    found: list[dict[str, object]] = []
    frames: list[dict[str, object]] = []
    for line in error.stack.splitlines():
        if (match := _FRAME.fullmatch(line)) is not None:
            frames.append(
                {"filename": match["file"], "abs_path": match["file"], "lineno": int(match["line"])}
                | {"function": match["function"]}
            )
        elif line.startswith("    "):
            if frames and not _MARKERS.fullmatch(line):
                frames[-1]["context_line"] = line.strip()
        elif line and not line.startswith((" ", "…")):
            name, _, message = line.partition(": ")
            found.append(_exception(name.removesuffix(":"), message, frames))
            frames = []
    # The text may have been changed after the stack was made, such as by "(no retry: …)".
    last = found.pop() if found else _exception(error.type_name, error.message, frames)
    return [*found, {**last, "type": error.type_name or "Error", "value": error.message}]


def _exception(name: str, message: str, frames: list[dict[str, object]]) -> dict[str, object]:
    stack = {"stacktrace": {"frames": frames}} if frames else {}
    return {"type": name, "value": message, **stack}


def _breadcrumb(one: Breadcrumb) -> dict[str, object]:
    when = {} if one.at is None else {"timestamp": one.at.isoformat()}
    return {
        "type": "error",
        "category": "attempt",
        "level": "error",
        "message": one.message,
        "data": {"attempt": one.attempt},
        **when,
    }


def _trace(traceparent: bytes | None) -> dict[str, object] | None:
    """Return Sentry's trace context of a W3C trace context; None: it has none."""
    match = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    return {"trace_id": match["trace"].decode(), "span_id": match["span"].decode()}


def _tag(value: str) -> str:
    return escape_line(value[:LONGEST_TAG])[:LONGEST_TAG]
