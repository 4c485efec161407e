"""Describes an exception: its type, one line, and a stack that is short enough for a header and a log line."""

import sys
import traceback
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy.exc import DBAPIError

from streams.observability.redaction import redacted

MESSAGE_LIMIT = 2 * 1024
"""The maximum length of a message in bytes of UTF-8."""
STACK_LIMIT = 8 * 1024
"""The maximum length of a stack in bytes of UTF-8."""
_CUT = "…\n"
_DATABASE_LIBRARIES = frozenset({"psycopg", "sqlalchemy"})


class ErrorText(NamedTuple):
    """The texts about an exception in logs, the ledger and dead letters."""

    type_name: str
    """Module and class, such as ``streams.delivery.Permanent``. Built-in exceptions have no module."""
    message: str
    """One line of at most `MESSAGE_LIMIT` bytes. Empty if the exception has no message."""
    stack: str
    """The causes first, as Python prints them. Beyond `STACK_LIMIT` bytes, the outer frames are left out."""


def describe(error: BaseException) -> ErrorText:
    """Return the texts of an exception and its causes. Marked values of the task's events are masked.

    For a database error, they contain only the server's message: the statement's parameters are the tenants' data.
    """
    stack = "".join(_stack(error)).rstrip()
    return ErrorText(type_name(error), message(error), _keep_end(stack, STACK_LIMIT))


def exception_of(exc_info: object) -> BaseException | None:
    """Return the exception of a log line's `exc_info`: an exception, `sys.exc_info()`, or True for the current one."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if not exc_info:
        return None
    found = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1]
    return found if isinstance(found, BaseException) else None


def type_name(error: BaseException) -> str:
    """Return an exception's module and class. Built-in exceptions have no module."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def message(error: BaseException) -> str:
    """Return an exception's message in one line of at most `MESSAGE_LIMIT` bytes."""
    return _line(redacted(str(_cause(error))))  # before it is cut: half a value would not be recognised


def owner_message(error: BaseException) -> str:
    """Return an exception's message in one line, for a row or a key that the platform shows to its users.

    A database error gives its class only: its words name statements, tables, and values of other rows. They are in the
    log and in the dead letter.
    """
    if any(base.__module__.partition(".")[0] in _DATABASE_LIBRARIES for base in type(error).__mro__):
        return f"the database stopped the work ({type(_cause(error)).__name__}); the operator's log has the reason"
    return _line(str(error)) or type(error).__name__


def _cause(error: BaseException) -> BaseException:
    """Return the driver's error of a database error, which has no statement; any other error as it is."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _line(text: str) -> str:
    encoded = " ".join(text.split()).encode(errors="replace")
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


def _keep_end(text: str, limit: int) -> str:
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return encoded.decode()
    return _CUT + encoded[-(limit - len(_CUT.encode())) :].decode(errors="ignore")
