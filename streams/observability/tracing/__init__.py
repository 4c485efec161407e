"""Traces: `traceparent` passes through every record, and with an exporter there are spans (OpenTelemetry)."""

from streams.observability.tracing.span import NO_SPAN, Link, NewSpan, Span, Tracer
from streams.observability.tracing.traceparent import bind_trace, child_traceparent, trace_id_of, trace_of
from streams.observability.tracing.tracer import (
    close_tracing,
    current_trace,
    open_tracing,
    process_tracer,
    start_send,
    waiting_since,
)

__all__ = [
    "NO_SPAN",
    "Link",
    "NewSpan",
    "Span",
    "Tracer",
    "bind_trace",
    "child_traceparent",
    "close_tracing",
    "current_trace",
    "open_tracing",
    "process_tracer",
    "start_send",
    "trace_id_of",
    "trace_of",
    "waiting_since",
]
