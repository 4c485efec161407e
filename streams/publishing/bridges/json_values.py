"""Turns live Python values of the platform's calls into values that JSON has, without the platform's classes.

The platform's tasks receive datetimes, enums, Decimals, UUIDs, dataclasses, Pydantic models, files and variables of its
workflows. The results are those that the platform stores: a Decimal is a float, a file is its `to_dict()`, a variable
is its value.
"""

import base64
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from uuid import UUID

from pydantic import BaseModel

from streams.publishing.bridges.errors import BridgeError


def json_value(value: object) -> object:
    """Return a value of str, int, float, bool, None, list and dict, in the same order.

    Raises:
        BridgeError: JSON has no such value, or the value is nested too deeply or contains itself.
    """
    try:
        return _json_value(value)
    except RecursionError:
        message = "a value is nested too deeply, or contains itself"
        raise BridgeError(message) from None


def json_object(value: object, name: str) -> Mapping[str, object]:
    """Return an argument that must be a JSON object. Raises BridgeError that names it if it is something else."""
    if isinstance(value, Mapping):
        return value
    message = f"{name} is a {type(value).__name__}, not an object with fields"
    raise BridgeError(message)


def utc(value: object) -> object:
    """Return a time in ISO format with its offset. The platform's times without an offset are UTC.

    Any other value is returned unchanged: the event's class rejects it.
    """
    if not isinstance(value, str):
        return value
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return value
    return parsed.replace(tzinfo=UTC).isoformat() if parsed.utcoffset() is None else value


def _json_value(value: object) -> object:  # noqa: PLR0911 - one line per kind of value
    if isinstance(value, Enum):  # before str and int: some enums are both
        return _json_value(value.value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {_key(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _json_value(value._asdict())
    if isinstance(value, list | tuple | AbstractSet):
        return [_json_value(inner) for inner in value]
    return _scalar(value) if isinstance(value, _SCALARS) else _json_value(_content(value))


_SCALARS = (Decimal, UUID, date, time, bytes, bytearray)


def _scalar(value: object) -> object:
    match value:
        case Decimal():
            return float(value)
        case date() | time():  # a datetime is a date
            return value.isoformat()
        case bytes() | bytearray():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return base64.b64encode(value).decode()
    return str(value)


def _content(value: object) -> object:
    """Return what an object contains, as a value of another kind. Raises BridgeError if it is no such object."""
    if not isinstance(value, type):
        if callable(to_dict := getattr(value, "to_dict", None)):  # a file
            return to_dict()
        if isinstance(value, BaseModel):
            # A workflow's variable has a type and a value. The platform stores the value.
            return getattr(value, "value", None) if hasattr(value, "value_type") else dict(value)
        if is_dataclass(value):
            return {field.name: getattr(value, field.name) for field in fields(value)}
    message = f"JSON has no {type(value).__qualname__}"
    raise BridgeError(message)


def _key(key: object) -> str | int | float | None:
    """Return the key of a JSON object. `json.dumps` writes numbers, booleans and null as text."""
    if isinstance(key, Enum):
        key = key.value
    return key if key is None or isinstance(key, str | int | float) else str(key)
