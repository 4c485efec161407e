"""W3C trace context. The first producer creates it, every hop passes it on (https://www.w3.org/TR/trace-context/)."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PATTERN = re.compile(rb"00-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")
_bits = random.getrandbits
"""Seeded by the system, again after a fork. An id must be unique, not secret, and the system's source is slower."""
_current: ContextVar[bytes | Callable[[], bytes | None] | None] = ContextVar("traceparent", default=None)


@contextmanager
def trace_of(traceparent: bytes | None) -> Iterator[None]:
    """Publish in the trace of this header within the context. None or an invalid header starts a new trace."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def bind_trace(find: Callable[[], bytes | None]) -> None:
    """Publish in a trace until this task ends. `find` returns the header; it is called when something is published."""
    _current.set(find)


def child_traceparent() -> bytes:
    """Return a `traceparent` for a record: a new span of the current trace, or of a new sampled trace."""
    bound = _current.get()
    if callable(bound):
        bound = bound()
    match = _PATTERN.fullmatch(bound) if bound else None
    if match is None:
        return b"00-%032x-%016x-01" % (_bits(128), _bits(64))
    return b"00-%b-%016x-%b" % (match["trace"], _bits(64), match["flags"])
