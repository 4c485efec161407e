"""The columns of a delivery in the ledger, and the worker that they name."""

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
"""Bytes of a handler's result, as JSON in UTF-8, that its row keeps."""

ARGS_LIMIT = 256 * 1024
"""Characters of an event's JSON from which on its row keeps only the beginning of its long texts."""
LONG_TEXT = 1000
_OWN_COLUMNS = {"event_id", "tenant_id"}


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The pool and the worker that run a delivery, as rows name them."""

    pool: str
    priority: int
    worker: str


def identity(delivery: Delivery) -> dict[str, object]:
    """Return the primary key of a delivery's row."""
    return {"day": delivery.day, "event_id": delivery.event.event_id, "handler": delivery.handler.name}


def description(delivery: Delivery, place: WorkerIdentity) -> dict[str, object]:
    """Return the columns that say what a delivery is and that never change."""
    return {
        "task_id": delivery.task_id,
        "topic": delivery.origin.topic,
        "partition": delivery.origin.partition,
        "offset": delivery.origin.offset,
        "key": delivery.record.key,
        "tenant_id": storable(delivery.event.tenant_id),
        "pool": place.pool,
        "priority": place.priority,
        "worker": place.worker,
        "args": args_json(delivery),
        "created_at": at_ms(delivery.origin.timestamp),
    }


def args_json(delivery: Delivery) -> str:
    """Return the event as JSON, its marked fields masked, without what the row has in other columns."""
    event = delivery.event
    if marks_of(type(event)) is None:
        told = event.model_dump_json(exclude=_OWN_COLUMNS)
    else:
        told = json.dumps(masked_event(event, exclude=_OWN_COLUMNS), ensure_ascii=False)
    if len(told) > ARGS_LIMIT:
        told = json.dumps(_shortened(json.loads(told)), ensure_ascii=False)
    return _without_nul(told)


def _shortened(value: object) -> object:
    """Return the value with the beginning of each long text: the row only shows the event, its record has it."""
    match value:
        case str() if len(value) > LONG_TEXT:
            return f"{value[:LONG_TEXT]}… ({len(value)} characters)"
        case dict():
            return {name: _shortened(inner) for name, inner in value.items()}
        case list():
            return [_shortened(inner) for inner in value]
    return value


def storable(value: str | None) -> str | None:
    """Return text that PostgreSQL stores, without NUL characters: a bad event must not fail its own settlement."""
    return None if value is None else value.replace("\x00", "\ufffd")


def result_json(result: JSON) -> str | None:
    """Return a handler's result for its row as JSON; of one over `RESULT_LIMIT` bytes only its size.

    What it repeats of its events' marked fields is masked. Raises TypeError or ValueError for what is no JSON.
    """
    if result is None:
        return None
    redactor = current_redactor()
    told = result if redactor is None else redactor.redact_json(result)
    encoded = json.dumps(told, allow_nan=False, ensure_ascii=False).encode(errors="replace")
    if len(encoded) > RESULT_LIMIT:
        log.warning("a handler's result is too large to be kept", size=len(encoded), limit=RESULT_LIMIT)
        return json.dumps({"omitted": f"{len(encoded)} bytes; at most {RESULT_LIMIT} are kept"})
    return _without_nul(encoded.decode())


def _without_nul(told: str) -> str:
    return told.replace("\\u0000", "\\ufffd")


def headers_json(record_headers: Headers) -> str:
    """Return headers for a JSON column."""
    return json.dumps(headers_to_json(record_headers))
