"""Sends traces to Langfuse by its ingestion API: POST /api/public/ingestion.

The service answers 207 with the outcome of each event of the batch. It drops events whose id it knows, and an object
with a known id overwrites the former one. So a repetition changes nothing.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid5

from streams.dify.errors import BusyError, RefusedError, ServiceError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch
from streams.dify.traces.trace import ModelUse, Root, Span, Trace

_EVENTS = UUID("4e0d8f0c-41fd-5b0a-9f4e-2f6f2ac7b6d1")
MAX_BATCH = 3_000_000
"""Characters of one request. The service accepts 3.5 MB."""
_BUSY_SECONDS = 30.0
_CLIENT_ERRORS = range(400, 500)
_TOO_MANY = 429


class Langfuse:
    """One project of a Langfuse server."""

    def __init__(self, host: str, public_key: str, secret_key: str, timeouts: Timeouts) -> None:
        key = base64.b64encode(f"{public_key}:{secret_key}".encode()).decode()
        self._url = f"{host}/api/public/ingestion"
        self._service = Service("Langfuse", {"Authorization": f"Basic {key}"}, timeouts, private=True)

    async def send(self, trace: Trace) -> None:
        """Send a trace in one or more batches. Raises BusyError, ServiceError, RefusedError."""
        for batch in _batches(trace):
            answer = await fetch(self._service, "POST", self._url, json={"batch": batch})
            _check(answer, [str(event["id"]) for event in batch])


def _batches(trace: Trace) -> Iterator[list[JSONObject]]:
    batch: list[JSONObject] = []
    size = 0
    for event in _events(trace):
        length = len(json.dumps(event))
        if batch and size + length > MAX_BATCH:
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield batch


def _events(trace: Trace) -> Iterator[JSONObject]:
    if trace.root is not None:
        yield _event("trace-create", trace.id, trace.root.start, _root(trace.id, trace.root))
    for span in trace.spans:
        kind = "span-create" if span.use is None else "generation-create"
        yield _event(kind, f"{trace.id}/{span.id}", span.start, _observation(trace.id, span))


def _event(kind: str, name: str, at: datetime, body: JSONObject) -> JSONObject:
    content = json.dumps(body, sort_keys=True)
    event_id = str(uuid5(_EVENTS, f"{kind}/{name}/{content}"))
    known = {key: value for key, value in body.items() if value is not None}
    return {"id": event_id, "type": kind, "timestamp": _time(at), "body": known}


def _root(trace_id: str, root: Root) -> JSONObject:
    return {
        "id": trace_id,
        "timestamp": _time(root.start),
        "name": root.name,
        "userId": root.user_id,
        "sessionId": root.session_id,
        "input": root.input,
        "output": root.output,
        "metadata": dict(root.metadata),
        "version": root.version,
        "tags": [tag for tag in root.tags if tag],
    }


def _observation(trace_id: str, span: Span) -> JSONObject:
    return {
        "id": span.id,
        "traceId": trace_id,
        "parentObservationId": span.parent_id,
        "name": span.name,
        "startTime": _time(span.start),
        "endTime": _time(span.end),
        "input": span.input,
        "output": span.output,
        "metadata": dict(span.metadata),
        "level": "DEFAULT" if span.error is None else "ERROR",
        "statusMessage": span.error,
        **(_usage(span.use) if span.use is not None else {}),
    }


def _usage(use: ModelUse) -> JSONObject:
    usage: dict[str, object] = {"input": use.input, "output": use.output, "total": use.total, "unit": use.unit}
    if use.cost is not None:
        usage["totalCost"] = use.cost
    return {"model": use.model, "usage": usage}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _check(answer: Mapping[str, object], sent: list[str]) -> None:
    """Raise the error of the first event that the service has not taken."""
    failed = [as_object(one) for one in _items(answer, "errors")]
    statuses = [one.get("status") for one in failed]
    if _TOO_MANY in statuses:
        message = "Langfuse answers 429 for a part of the trace: too many requests"
        raise BusyError(message, _BUSY_SECONDS)
    if any(status not in _CLIENT_ERRORS for status in statuses):
        message = f"Langfuse has failed for {len(failed)} of {len(sent)} parts of the trace"
        raise ServiceError(message)
    if failed:
        message = f"Langfuse rejects {len(failed)} of {len(sent)} parts of the trace: status {statuses[0]}"
        raise RefusedError(message)
    taken = {as_object(one).get("id") for one in _items(answer, "successes")}
    if not taken.issuperset(sent):
        message = "Langfuse does not say that it has taken the whole trace"
        raise ServiceError(message)


def _items(answer: Mapping[str, object], name: str) -> list[object]:
    found = answer.get(name)
    return found if isinstance(found, list) else []
