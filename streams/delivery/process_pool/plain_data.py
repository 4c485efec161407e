"""Requests and results of compute processes. A result is plain data: what a process returns can run no code here.

A request is pickled, because the worker wrote it. A result is JSON that is read by the function's declared result type,
or bytes as they are. An error becomes an instance of its class if the worker has loaded that class.
"""

import json
import pickle
import sys
from collections.abc import Callable
from functools import lru_cache
from traceback import format_exception
from types import ModuleType
from typing import Any, NamedTuple, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from pydantic_core import PydanticSerializationError

from streams.delivery.errors import ComputeCrashedError

MAX_RESULT_BYTES = 32 * 1024 * 1024
"""The longest result. What is larger belongs in a file."""
_MAX_MESSAGE = 10_000
"""Characters of an error's texts."""
_BYTES, _JSON, _ERROR = b"B", b"J", b"E"
_PLAIN = (str, int, float, bool, type(None))
_AS_TEXT = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


class Request(NamedTuple):
    """A call for a compute process."""

    function: Callable[..., object]
    """Importable by its name."""
    args: tuple[object, ...]
    kwargs: dict[str, object]
    processor_seconds: float | None = None
    """The process is killed when the call has used this much processor time; None: no limit."""


def encode_request(request: Request) -> bytes:
    """Return the bytes of a request. Raises TypeError, AttributeError or pickle.PicklingError."""
    return pickle.dumps(tuple(request), protocol=pickle.HIGHEST_PROTOCOL)


def decode_request(value: bytes) -> Request:
    """Return a request that the worker has encoded."""
    return Request(*pickle.loads(value))  # noqa: S301 - written by the worker, which started this process


def encode_result(function: Callable[..., object], result: object) -> bytes:
    """Return the bytes of a result. Raises TypeError if it is no plain data of the declared type."""
    if isinstance(result, bytes):
        return _BYTES + result
    adapter = result_type(function)
    try:
        if adapter is None:
            return _JSON + json.dumps([result]).encode()
        return _JSON + adapter.dump_json((result,), warnings="error")
    except (TypeError, ValueError, PydanticSerializationError) as error:
        message = f"the result of {name_of(function)} is no plain data of its declared type: {error}"
        raise TypeError(message[:_MAX_MESSAGE]) from error


def encode_error(error: BaseException) -> bytes:
    """Return the bytes of an error: its class, plain arguments and attributes, and its traceback."""
    kind = type(error)
    described = {
        "module": kind.__module__,
        "name": kind.__qualname__,
        "args": [_plain(value) for value in error.args],
        "state": {name: value for name, value in vars(error).items() if isinstance(value, _PLAIN)},
        "traceback": "".join(format_exception(error))[-_MAX_MESSAGE:],
    }
    return _ERROR + json.dumps(described).encode()


def decode_answer(function: Callable[..., object], value: bytes) -> object:
    """Return the result of a call, or raise its error.

    Raises ComputeCrashedError if the process has written something else.
    """
    kind, body = value[:1], value[1:]
    if kind == _BYTES:
        return body
    try:
        if kind == _JSON:
            adapter = result_type(function)
            (result,) = json.loads(body) if adapter is None else adapter.validate_json(body)
            return result
        if kind == _ERROR:
            failure = _error(json.loads(body))
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError) as error:
        message = f"the process that ran {name_of(function)} returned something else than its declared type"
        raise ComputeCrashedError(message) from error
    if kind != _ERROR:
        message = f"the process that ran {name_of(function)} returned no result"
        raise ComputeCrashedError(message)
    raise failure


@lru_cache(maxsize=256)
def result_type(function: Callable[..., object]) -> TypeAdapter[tuple[Any]] | None:
    """Return the reader of a function's declared result; None: any plain data. Raises TypeError for other types."""
    try:
        declared = get_type_hints(function).get("return", Any)
    except (TypeError, NameError):
        declared = Any
    if declared is Any:
        return None
    try:
        # Within a tuple, so that the configuration applies to a class too.
        within: Any = tuple[declared]  # type: ignore[valid-type]  # known at run time only
        return TypeAdapter(within, config=_AS_TEXT)
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        message = (
            f"work.compute: {name_of(function)} returns {declared!r}, which is no plain data; return str, bytes, "
            "numbers, lists, dicts, dataclasses or NamedTuples of them"
        )
        raise TypeError(message) from error


def name_of(function: Callable[..., object]) -> str:
    """Return the name of a function, for messages."""
    return getattr(function, "__name__", None) or repr(function)


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value[:_MAX_MESSAGE]
    return value if isinstance(value, _PLAIN) else repr(value)[:_MAX_MESSAGE]


def _error(described: dict[str, Any]) -> Exception:
    """Return the described error. Nothing is imported, and no code of the class is called."""
    found: object = sys.modules.get(str(described["module"]))
    for part in str(described["name"]).split("."):
        # Not getattr: a module may import others when it is asked for a name.
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
    args = [value for value in described["args"] if isinstance(value, _PLAIN)]
    if not (isinstance(found, type) and issubclass(found, Exception) and _is_made_by_python(found)):
        name = f"{described['module']}.{described['name']}"
        return ComputeCrashedError(f"{name}: {', '.join(map(str, args))}"[:_MAX_MESSAGE])
    error: Exception
    try:
        error = found(*args) if found.__module__ == "builtins" else found.__new__(found, *args)
    except TypeError:
        error = ComputeCrashedError(f"{found.__name__}: {', '.join(map(str, args))}"[:_MAX_MESSAGE])
    if error.__class__ is found and found.__module__ != "builtins":
        vars(error).update({str(key): value for key, value in described["state"].items() if isinstance(value, _PLAIN)})
    error.add_note(str(described["traceback"])[-_MAX_MESSAGE:])
    return error


def _is_made_by_python(kind: type[Exception]) -> bool:
    """Return whether an instance is made without code of its class, `__init__` aside."""
    return not any("__new__" in vars(base) for base in kind.__mro__ if base.__module__ != "builtins")
