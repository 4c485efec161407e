"""Sends traces to a service that takes OTLP over HTTP as JSON (OpenTelemetry Protocol 1.x): POST <endpoint>/v1/traces.

Ids of traces and spans are derived from the platform's ids. So the parts of a message that come in several events
belong to one trace, and a repetition has the same ids.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from streams.dify.errors import RefusedError
from streams.dify.http import JSONObject, Service, Timeouts, as_object, fetch
from streams.dify.traces.trace import ModelUse, Root, Span, Trace

_PATH = "/v1/traces"
_INTERNAL, _ERROR = 1, 2
"""SPAN_KIND_INTERNAL and STATUS_CODE_ERROR."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN_ID_CHARACTERS = 16
_TRACE_ID_CHARACTERS = 32


class OTLP:
    """One endpoint."""

    def __init__(self, endpoint: str, api_key: str | None, project: str, timeouts: Timeouts) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._url = endpoint if endpoint.endswith(_PATH) else f"{endpoint}{_PATH}"
        self._service = Service("the OTLP endpoint", headers, timeouts, private=True)
        self._resource = {"attributes": _attributes({"service.name": project})}

    async def send(self, trace: Trace) -> None:
        """Send a trace in one request. Raises BusyError, ServiceError, RefusedError."""
        spans = [{"scope": {"name": "streams"}, "spans": _spans(trace)}]
        request = {"resourceSpans": [{"resource": self._resource, "scopeSpans": spans}]}
        answer = await fetch(self._service, "POST", self._url, json=request)
        rejected = str(as_object(answer.get("partialSuccess")).get("rejectedSpans") or 0)  # int64 is a text in JSON
        if rejected != "0":
            message = f"the OTLP endpoint rejects {rejected[:20]} of {len(trace.spans) + 1} spans"
            raise RefusedError(message)


def _spans(trace: Trace) -> list[JSONObject]:
    trace_id = _trace_id(trace.id)
    root_id = _span_id(trace.id, "root")
    spans = [] if trace.root is None else [_root_span(trace_id, root_id, trace.root)]
    for span in trace.spans:
        parent = root_id if span.parent_id is None else _span_id(trace.id, span.parent_id)
        spans.append({**_span(trace_id, span), "spanId": _span_id(trace.id, span.id), "parentSpanId": parent})
    return spans


def _root_span(trace_id: str, span_id: str, root: Root) -> JSONObject:
    described: dict[str, object] = {
        "session.id": root.session_id,
        "user.id": root.user_id,
        "service.version": root.version,
        "tag.tags": list(filter(None, root.tags)),
    }
    attributes = {**described, **_content(root.input, root.output, root.metadata)}
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "name": root.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": _nanoseconds(root.start),
        "endTimeUnixNano": _nanoseconds(root.end),
        "attributes": _attributes(attributes),
        "status": _status(root.error),
    }


def _span(trace_id: str, span: Span) -> JSONObject:
    attributes = _content(span.input, span.output, span.metadata) | (_use(span.use) if span.use is not None else {})
    return {
        "traceId": trace_id,
        "name": span.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": _nanoseconds(span.start),
        "endTimeUnixNano": _nanoseconds(span.end),
        "attributes": _attributes(attributes),
        "status": _status(span.error),
    }


def _content(value: object, result: object, metadata: Mapping[str, object]) -> dict[str, object]:
    named = {f"metadata.{name}": one for name, one in metadata.items()}
    return {"input.value": value, "output.value": result, **named}


def _use(use: ModelUse) -> dict[str, object]:
    return {
        "gen_ai.request.model": use.model,
        "gen_ai.usage.input_tokens": use.input,
        "gen_ai.usage.output_tokens": use.output,
    }


def _status(error: str | None) -> JSONObject:
    return {} if error is None else {"code": _ERROR, "message": error}


def _attributes(values: Mapping[str, object]) -> list[JSONObject]:
    return [{"key": name, "value": _value(one)} for name, one in values.items() if one is not None]


def _value(value: object) -> JSONObject:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # 64 bits do not fit into a number of JSON
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}


def _trace_id(trace_id: str) -> str:
    try:
        return UUID(trace_id).hex
    except ValueError:
        return sha256(trace_id.encode()).hexdigest()[:_TRACE_ID_CHARACTERS]


def _span_id(trace_id: str, span_id: str) -> str:
    return sha256(f"{trace_id}/{span_id}".encode()).hexdigest()[:_SPAN_ID_CHARACTERS]


def _nanoseconds(at: datetime) -> str:
    elapsed = at - _EPOCH
    return str((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000_000 + elapsed.microseconds * 1_000)
