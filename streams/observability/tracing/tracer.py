"""The tracer of this process. Without an exporter there is none, and nothing of OpenTelemetry is imported."""

import atexit
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Final

from streams.observability.tracing.environment import EXPORTER, requested_export
from streams.observability.tracing.span import Span, Tracer, send_span
from streams.observability.tracing.traceparent import bound_traceparent, parse_traceparent, trace_id_of
from streams.settings import SettingsError

if TYPE_CHECKING:
    from streams.observability.tracing.sdk import OpenTelemetryTracer

logger = logging.getLogger(__name__)
CLOSE_SECONDS = 2.0
"""How long a process that ends sends its last spans."""

_waiting_since: ContextVar[datetime | None] = ContextVar("waiting_since", default=None)


class ProcessTracing:
    """The tracer of this process, opened at the first use."""

    __slots__ = ("is_decided", "is_off", "tracer")

    def __init__(self) -> None:
        self.decide(None, is_decided=False)

    def decide(self, tracer: "OpenTelemetryTracer | None", *, is_decided: bool = True) -> None:
        """Set the tracer. None: there is none, or it is not decided yet."""
        self.tracer = tracer
        self.is_decided = is_decided
        self.is_off = is_decided and tracer is None
        """Whether nothing is traced. This one attribute is what an event costs then."""


PROCESS: Final = ProcessTracing()
_opening = threading.Lock()
"""Two threads may publish their first events at the same time."""


def open_tracing(application: str | None = None) -> "OpenTelemetryTracer | None":
    """Return the tracer of this process, which OpenTelemetry's variables configure. None: they name no exporter.

    If the application has set up OpenTelemetry's SDK itself before, that one is used. A second call returns the same.

    Args:
        application: The default for OTEL_SERVICE_NAME.

    Raises:
        SettingsError: A variable has a wrong value, or the extra `tracing` is not installed.
    """
    with _opening:
        if not PROCESS.is_decided:
            PROCESS.decide(_build(application or os.environ.get("STREAMS_APPLICATION") or "streams"))
        return PROCESS.tracer


def _build(application: str) -> "OpenTelemetryTracer | None":
    export = requested_export(os.environ)
    if export is None and "opentelemetry.sdk.trace" not in sys.modules:
        return None
    try:
        # Only a process with an exporter pays for this import.
        from streams.observability.tracing.sdk import build_tracer  # noqa: PLC0415
    except ImportError as error:
        message = f"{EXPORTER}, or an endpoint for OTLP, asks for traces: pip install 'event-streams[tracing]'"
        raise SettingsError(message) from error
    tracer = build_tracer(export, application)
    if tracer is not None:
        atexit.register(close_tracing)
    return tracer


def close_tracing(seconds: float = CLOSE_SECONDS) -> None:
    """Send the last spans, for at most this many seconds, and end the tracer. Idempotent."""
    tracer = PROCESS.tracer
    PROCESS.decide(None, is_decided=False)
    if tracer is not None:
        atexit.unregister(close_tracing)
        tracer.close(seconds)


def process_tracer() -> Tracer | None:
    """Return the tracer of this process. None: there is none, or none was needed yet."""
    return PROCESS.tracer


def start_send(topic: str, message_id: bytes) -> Span | None:
    """Start the span of a published event. None: no tracer, or its trace is not sampled.

    Args:
        topic: The topic's name.
        message_id: The event's id.
    """
    tracer = PROCESS.tracer if PROCESS.is_decided else _first_tracer()
    if tracer is None:
        return None
    if tracer.is_recording():
        return tracer.start(send_span(topic, message_id.decode(), None))
    bound = bound_traceparent()
    parent = parse_traceparent(bound)
    if parent is not None and tracer.follows_parent and not parent.is_sampled:
        return None
    return tracer.start(send_span(topic, message_id.decode(), bound if parent else None))


def _first_tracer() -> Tracer | None:
    """Return the tracer at the first event of a process. A wrong variable is logged, since the event must be sent."""
    try:
        return open_tracing()
    except SettingsError as error:
        logger.error("no traces: %s", error)  # noqa: TRY400 - one line for the operator
        PROCESS.decide(None)
        return None


def current_trace() -> dict[str, str]:
    """Return `trace_id` and `span_id` of what this task does, for its log lines. Empty: it is in no trace."""
    tracer = PROCESS.tracer
    ids = None if tracer is None else tracer.current_ids()
    if ids is not None:
        return {"trace_id": ids[0], "span_id": ids[1]}
    trace_id = trace_id_of(bound_traceparent())
    return {} if trace_id is None else {"trace_id": trace_id}


@contextmanager
def waiting_since(moment: datetime) -> Iterator[None]:
    """Let the events that are published within the context wait since this time, as their spans tell."""
    token = _waiting_since.set(moment)
    try:
        yield
    finally:
        _waiting_since.reset(token)


def bound_waiting_since() -> datetime | None:
    """Return the time of `waiting_since`. None: it was not called."""
    return _waiting_since.get()
