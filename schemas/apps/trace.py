"""Events of traces: what an app did for a message, for an external tracing service."""

from schemas.event import Event


class TraceRecorded(Event):
    """A trace was recorded. The storage has it under ``ops_trace/<app_id>/<file_id>.json``, until it was sent."""

    app_id: str
    file_id: str
