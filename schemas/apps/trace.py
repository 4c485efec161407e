"""Events of traces: what an app did for a message, for an external tracing service."""

from schemas.event import Event


class TraceRecorded(Event):
    """A trace was recorded. The storage has it under ``ops_trace/<app_id>/<file_id>.json``, until it was sent."""

    app_id: str
    file_id: str
    sent: bool = False
    """Only the payload is left to be deleted. False in the sender's event; after its success the handler publishes the
    event again with true."""
