"""The values of a delivery's columns in the ledger."""

import json
from dataclasses import dataclass

from schemas.sensitivity import marks_of
from streams.delivery.delivery import Delivery, at_ms
from streams.delivery.handler import JSON
from streams.headers import Headers
from streams.observability.logs import get_logger
from streams.observability.redaction import current_redactor, masked_event
from streams.publishing.outbox.outbox import headers_to_json

log = get_logger(__name__)
RESULT_LIMIT = 8 * 1024
"""Maximum size of a handler's result in its row: bytes of JSON in UTF-8."""

ARGS_LIMIT = 256 * 1024
"""Characters of an event's JSON above which its row has only the beginning of each long text."""
LONG_TEXT = 1000
_OWN_COLUMNS = {"event_id", "tenant_id"}


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The pool and the worker that run a delivery, as the rows name them."""

    pool: str
    priority: int
    worker: str


def primary_key(delivery: Delivery) -> dict[str, object]:
    """Return the primary key of a delivery's row."""
    return {"day": delivery.day, "event_id": delivery.event.event_id, "handler": delivery.handler.name}


def fixed_columns(delivery: Delivery, identity: WorkerIdentity) -> dict[str, object]:
    """Return the columns of a delivery that never change."""
    return {
        "task_id": delivery.task_id,
        "topic": delivery.origin.topic,
        "partition": delivery.origin.partition,
        "offset": delivery.origin.offset,
        "key": delivery.record.key,
        "tenant_id": storable(delivery.event.tenant_id),
        "pool": identity.pool,
        "priority": identity.priority,
        "worker": identity.worker,
        "args": args_json(delivery),
        "created_at": at_ms(delivery.origin.timestamp),
    }


def args_json(delivery: Delivery) -> str:
    """Return the event as JSON without the fields of other columns; marked fields are masked."""
    event = delivery.event
    if marks_of(type(event)) is None:
        encoded = event.model_dump_json(exclude=_OWN_COLUMNS)
    else:
        encoded = json.dumps(masked_event(event, exclude=_OWN_COLUMNS), ensure_ascii=False)
    if len(encoded) > ARGS_LIMIT:
        encoded = json.dumps(_shortened(json.loads(encoded)), ensure_ascii=False)
    return _without_nul(encoded)


def _shortened(value: object) -> object:
    """Return the value with long texts cut. The row is only for display; the record has the whole event."""
    match value:
        case str() if len(value) > LONG_TEXT:
            return f"{value[:LONG_TEXT]}… ({len(value)} characters)"
        case dict():
            return {name: _shortened(inner) for name, inner in value.items()}
        case list():
            return [_shortened(inner) for inner in value]
    return value


def storable(value: str | None) -> str | None:
    """Return text that PostgreSQL accepts, without NUL characters: a bad event must not fail its settlement."""
    return None if value is None else value.replace("\x00", "\ufffd")


def result_json(result: JSON) -> str | None:
    """Return a handler's result as JSON for its row; only the size if it exceeds `RESULT_LIMIT` bytes.

    Values of marked fields of its events are masked. Raises TypeError or ValueError if the result is not JSON.
    """
    if result is None:
        return None
    redactor = current_redactor()
    encoded = result if redactor is None else redactor.redact_json(result)
    encoded = json.dumps(encoded, allow_nan=False, ensure_ascii=False).encode(errors="replace")
    if len(encoded) > RESULT_LIMIT:
        log.warning("result of a handler is too large to be stored", size=len(encoded), limit=RESULT_LIMIT)
        return json.dumps({"omitted": f"{len(encoded)} bytes; at most {RESULT_LIMIT} are kept"})
    return _without_nul(encoded.decode())


def _without_nul(encoded: str) -> str:
    return encoded.replace("\\u0000", "\\ufffd")


def headers_json(record_headers: Headers) -> str:
    """Return headers for a JSON column."""
    return json.dumps(headers_to_json(record_headers))
