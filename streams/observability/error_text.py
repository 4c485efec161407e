"""How an exception is told: its type, one line, and a stack that fits into a header and a log line."""

import traceback
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError

from streams.observability.redaction import scrubbed

MESSAGE_LIMIT = 2 * 1024
"""Bytes of a message, UTF-8."""
STACK_LIMIT = 8 * 1024
"""Bytes of a stack, UTF-8."""
_CUT = "…\n"


class ErrorText(NamedTuple):
    """What logs, ledger and dead letters say of an exception."""

    type_name: str
    """Module and class, such as ``streams.delivery.Permanent``; built-in ones without a module."""
    message: str
    """One line, at most `MESSAGE_LIMIT` bytes; empty where the exception carries none."""
    stack: str
    """Causes first, as Python prints them; where that is over `STACK_LIMIT` bytes the outer frames are left out."""


def describe(error: BaseException) -> ErrorText:
    """The text of an exception and its causes, without the marked values of the events that the task works on.

    A database error is told by what the server said: the statement's parameters are the tenants' data.
    """
    stack = "".join(_stack(error)).rstrip()
    return ErrorText(type_name(error), message(error), _last_bytes(stack, STACK_LIMIT))


def type_name(error: BaseException) -> str:
    """Module and class of an exception; built-in ones without a module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message(error: BaseException) -> str:
    """What an exception says, in one line of at most `MESSAGE_LIMIT` bytes."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    line = " ".join(scrubbed(str(told)).split())  # before it is cut: of half a value less would be found
    encoded = line.encode(errors="replace")
    if len(encoded) <= MESSAGE_LIMIT:
        return encoded.decode()
    return encoded[: MESSAGE_LIMIT - len("…".encode())].decode(errors="ignore") + "…"


def _stack(error: BaseException) -> Iterator[str]:
    chain = [error]
    while (earlier := chain[-1].__cause__ or _context(chain[-1])) is not None and earlier not in chain:
        chain.append(earlier)
    for link in reversed(chain):
        yield from traceback.format_tb(link.__traceback__)
        yield f"{type_name(link)}: {message(link)}\n"


def _context(error: BaseException) -> BaseException | None:
    return None if error.__suppress_context__ else error.__context__


def _last_bytes(text: str, limit: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return _CUT + encoded[-(limit - len(_CUT.encode())) :].decode(errors="ignore")
