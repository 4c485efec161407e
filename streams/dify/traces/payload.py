"""Builds a trace from the payload that the platform has written to the storage.

The payload is JSON: app_id, trace_info_type (the name of a class of the platform), trace_info (its fields) or null. A
field that is missing or has another type counts as empty. So an unusual trace is sent with what it has.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from streams.dify.errors import RefusedError, Stopped
from streams.dify.http import JSONObject, as_object
from streams.dify.traces.trace import ModelUse, Root, Span, Trace

LARGEST_PAYLOAD = 32 * 1024 * 1024
"""Bytes."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The contents of a payload."""

    kind: str
    """trace_info_type."""
    info: JSONObject
    file_id: str
    recorded_at: datetime
    """The time for parts that have none."""

    def text(self, name: str) -> str | None:
        """Return a field as text; None if it is empty."""
        value = self.info.get(name)
        return str(value) if value else None

    def time(self, name: str, otherwise: datetime) -> datetime:
        """Return a field as a time in UTC. The platform's times have no zone."""
        return read_time(self.info.get(name), otherwise)

    @property
    def metadata(self) -> JSONObject:
        """The metadata."""
        return as_object(self.info.get("metadata"))

    @property
    def message(self) -> JSONObject:
        """The row of the message."""
        return as_object(self.info.get("message_data"))

    @property
    def message_id(self) -> str | None:
        """The message that the trace is about."""
        found = self.info.get("message_id") or self.message.get("id") or self.metadata.get("message_id")
        return str(found) if found else None

    @property
    def workflow_run_id(self) -> str | None:
        """The run of the workflow that the trace is about; None: it is not about a workflow."""
        return self.text("workflow_run_id") if self.kind == "WorkflowTraceInfo" else None


def read_payload(content: bytes, app_id: str, file_id: str, recorded_at: datetime) -> Payload:
    """Read a payload.

    Raises:
        RefusedError: It is not a payload of this app.
        Stopped: It says nothing: trace_info is null.
    """
    if len(content) > LARGEST_PAYLOAD:
        message = f"the payload of the trace has {len(content)} bytes; at most {LARGEST_PAYLOAD} are sent"
        raise RefusedError(message)
    try:
        found = _parse(content)
    except (ValueError, RecursionError) as error:
        message = "the payload of the trace is not JSON"
        raise RefusedError(message) from error
    fields = as_object(found)
    kind, info = fields.get("trace_info_type"), fields.get("trace_info")
    if not fields or str(fields.get("app_id")).lower() != app_id:
        message = "the payload of the trace is not one of this app"
        raise RefusedError(message)
    if info is None:
        message = "the trace is empty"
        raise Stopped(message)
    if not isinstance(info, dict) or not isinstance(kind, str):
        message = "the payload of the trace has no fields"
        raise RefusedError(message)
    return Payload(kind, info, file_id, recorded_at)


def build_trace(payload: Payload, nodes: Sequence[Span] = ()) -> Trace:
    """Build the trace of a payload. `nodes` are the spans of a workflow's nodes.

    Raises RefusedError for a kind that no version of the platform is known to write, or without an id.
    """
    build = _BUILDERS.get(payload.kind)
    if build is None:
        message = f"traces of the kind {payload.kind[:100]!r} are not known"
        raise RefusedError(message)
    return build(payload, nodes)


def read_time(value: object, otherwise: datetime) -> datetime:
    """Return a time in ISO 8601 as UTC; `otherwise` for anything else."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else otherwise
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return otherwise


def read_count(value: object) -> int:
    """Return a number of tokens; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _parse(content: bytes) -> object:
    """Parse JSON, also what Python writes and no other parser reads: NaN, and halves of surrogate pairs."""
    found: object = json.loads(content, parse_constant=str)
    if b"\\ud" not in content.lower():
        return found
    return json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))


def _workflow(payload: Payload, nodes: Sequence[Span]) -> Trace:
    run_id = _required(payload.workflow_run_id, "workflow_run_id")
    message_id = payload.text("message_id")
    start = payload.time("start_time", payload.recorded_at)
    end = payload.time("end_time", start)
    inputs, outputs = payload.info.get("workflow_run_inputs"), payload.info.get("workflow_run_outputs")
    error, metadata = payload.text("error"), payload.metadata
    root = Root(
        name="message" if message_id else "workflow",
        start=start,
        end=end,
        input=inputs,
        output=outputs,
        metadata={**metadata, "workflow_app_log_id": payload.info.get("workflow_app_log_id")},
        error=error,
        session_id=payload.text("conversation_id"),
        user_id=_user(metadata),
        version=payload.text("workflow_run_version"),
        tags=("message", "workflow") if message_id else ("workflow",),
    )
    trace_id = str(metadata.get("external_trace_id") or message_id or run_id)
    if message_id is None:
        return Trace(trace_id, root, tuple(nodes))
    run = Span(run_id, "workflow", start, end, inputs, outputs, metadata, error)
    return Trace(trace_id, root, (run, *(replace(node, parent_id=run_id) for node in nodes)))


def _message(payload: Payload, _: Sequence[Span]) -> Trace:
    message_id, row = _required(payload.message_id, "message_id"), payload.message
    start = payload.time("start_time", payload.recorded_at)
    end = payload.time("end_time", start)
    used = {name: read_count(payload.info.get(name)) for name in ("message_tokens", "answer_tokens", "total_tokens")}
    error, model = payload.text("error"), row.get("model_id")
    root = Root(
        name="message",
        start=start,
        end=end,
        input={"message": payload.info.get("inputs"), "files": payload.info.get("file_list"), **used, "error": error},
        output=payload.info.get("outputs"),
        metadata=payload.metadata,
        error=error,
        session_id=_text(row.get("conversation_id")) or _text(payload.metadata.get("conversation_id")),
        user_id=_user(payload.metadata) or _text(row.get("from_end_user_id")) or _text(row.get("from_account_id")),
        tags=("message", str(payload.info.get("conversation_mode") or "")),
    )
    use = ModelUse(
        model=_text(model) or _text(payload.metadata.get("ls_model_name")),
        input=used["message_tokens"],
        output=used["answer_tokens"],
        total=used["total_tokens"],
        cost=_price(row.get("total_price")),
    )
    generation = Span(
        id=f"{message_id}-llm",
        name="llm",
        start=start,
        end=end,
        input=payload.info.get("inputs"),
        output=row.get("answer") or payload.info.get("outputs"),
        metadata=payload.metadata,
        error=error,
        use=use,
    )
    return Trace(message_id, root, (generation,))


def _part(name: str, output: Callable[[Payload], object]) -> Callable[[Payload, Sequence[Span]], Trace]:
    """Return a builder for a span that belongs to a message."""

    def build(payload: Payload, _: Sequence[Span]) -> Trace:
        message_id = _required(payload.message_id, "message_id")
        start = payload.time("start_time", read_time(payload.message.get("created_at"), payload.recorded_at))
        span = Span(
            id=payload.file_id,
            name=payload.text("tool_name") or name,
            start=start,
            end=payload.time("end_time", start),
            input=payload.info.get("tool_inputs") or payload.info.get("inputs"),
            output=output(payload),
            metadata=payload.metadata,
            error=payload.text("error"),
        )
        return Trace(message_id, None, (span,))

    return build


def _suggested_questions(payload: Payload, _: Sequence[Span]) -> Trace:
    trace = _part("suggested_question", lambda one: one.info.get("suggested_question"))(payload, ())
    (span,) = trace.spans
    total = read_count(payload.info.get("total_tokens"))
    use = ModelUse(payload.text("model_id"), input=0, output=total, total=total)
    return Trace(trace.id, None, (replace(span, use=use),))


def _conversation_name(payload: Payload, _: Sequence[Span]) -> Trace:
    start = payload.time("start_time", payload.recorded_at)
    end, name = payload.time("end_time", start), "generate_conversation_name"
    inputs, outputs, metadata = payload.info.get("inputs"), payload.info.get("outputs"), payload.metadata
    root = Root(name, start, end, inputs, outputs, metadata, session_id=payload.text("conversation_id"))
    return Trace(payload.file_id, root, (Span(f"{payload.file_id}-span", name, start, end, inputs, outputs, metadata),))


_BUILDERS: Mapping[str, Callable[[Payload, Sequence[Span]], Trace]] = {
    "WorkflowTraceInfo": _workflow,
    "MessageTraceInfo": _message,
    "ModerationTraceInfo": _part(
        "moderation",
        lambda one: {name: one.info.get(name) for name in ("action", "flagged", "preset_response", "inputs")},
    ),
    "SuggestedQuestionTraceInfo": _suggested_questions,
    "DatasetRetrievalTraceInfo": _part("dataset_retrieval", lambda one: {"documents": one.info.get("documents")}),
    "ToolTraceInfo": _part("tool", lambda one: one.info.get("tool_outputs")),
    "GenerateNameTraceInfo": _conversation_name,
}


def _required(value: str | None, name: str) -> str:
    if value is None:
        message = f"the payload of the trace has no {name}"
        raise RefusedError(message)
    return value


def _text(value: object) -> str | None:
    return str(value) if value else None


def _user(metadata: JSONObject) -> str | None:
    return _text(metadata.get("user_id"))


def _price(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None
