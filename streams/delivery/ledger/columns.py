"""The values of a delivery's columns in the ledger."""

import base64
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from pydantic import BaseModel

from schemas import Event
from schemas.sensitivity import marks_of
from streams.database.zero_bytes import without_zero_bytes
from streams.delivery.delivery import Delivery, at_ms
from streams.delivery.handler import JSON
from streams.headers import Headers
from streams.observability.error_text import type_name
from streams.observability.logs import get_logger
from streams.observability.redaction import current_redactor, masked, masked_event
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


def fixed_columns(delivery: Delivery, identity: WorkerIdentity, *, with_args: bool = True) -> dict[str, object]:
    """Return the columns of a delivery that never change. `with_args`: False has a placeholder for the arguments."""
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
        "args": args_json(delivery) if with_args else omitted_args("the database rejected them"),
        "trace_id": delivery.trace_id,
        "created_at": at_ms(delivery.origin.timestamp),
    }


def args_json(delivery: Delivery) -> str:
    """Return the event as JSON without the fields of other columns; marked fields are masked. Never raises.

    JSON has no bytes and no NaN: bytes that are not UTF-8 are in base64, and such a number is null.
    """
    try:
        try:
            encoded = _event_json(delivery.event)
        except Exception:  # noqa: BLE001 - pydantic and classes raise many kinds; the values decide which
            encoded = json.dumps(_plain_fields(delivery.event), ensure_ascii=False, allow_nan=False)
        if len(encoded) > ARGS_LIMIT:
            encoded = json.dumps(_shortened(json.loads(encoded)), ensure_ascii=False)
    except Exception as error:  # noqa: BLE001 - the row is for people; it must not decide about the event
        return omitted_args(f"they are no JSON: {type_name(error)}")
    return without_zero_bytes(encoded)


def omitted_args(why: str) -> str:
    """Return the value of `args` for a row without the event."""
    return json.dumps({"omitted": why})


def _event_json(event: Event) -> str:
    """Return the event as JSON. Raises many kinds of errors for values that JSON or UTF-8 cannot represent."""
    if marks_of(type(event)) is None:
        return event.model_dump_json(exclude=_OWN_COLUMNS)
    encoded = json.dumps(masked_event(event, exclude=_OWN_COLUMNS), ensure_ascii=False, allow_nan=False)
    encoded.encode()
    return encoded


def _plain_fields(event: Event) -> dict[str, object]:
    fields = {name: _plain(value) for name, value in event.__dict__.items() if name not in _OWN_COLUMNS}
    marks = marks_of(type(event))
    return fields if marks is None else masked(fields, marks)


def _plain(value: object) -> object:  # noqa: PLR0911 - one per type
    """Return the nearest value that JSON has."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case BaseModel():
            return {name: _plain(inner) for name, inner in value.__dict__.items()}
        case Mapping():
            return {_text(name): _plain(inner) for name, inner in value.items()}
        case datetime() | date():
            return value.isoformat()
        case Iterable() if not isinstance(value, str):
            return [_plain(inner) for inner in value]
    return _text(value)


def _text(value: object) -> str:
    return str(value).encode(errors="replace").decode()


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
    return without_zero_bytes(encoded.decode())


def headers_json(record_headers: Headers) -> str:
    """Return headers for a JSON column."""
    return json.dumps(headers_to_json(record_headers))
