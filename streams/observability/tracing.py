"""W3C trace context: made by the first producer, passed on by every hop (https://www.w3.org/TR/trace-context/)."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PATTERN = re.compile(rb"00-(?P<trace>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})")
_bits = random.getrandbits
"""Seeded by the system, anew after a fork. An id has to be unique, not secret, and the system is slower to ask."""
_current: ContextVar[bytes | Callable[[], bytes | None] | None] = ContextVar("traceparent", default=None)


@contextmanager
def trace_of(traceparent: bytes | None) -> Iterator[None]:
    """Within it, what is published belongs to the trace of this header (None or a bad one: to a new trace)."""
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


def bind_trace(find: Callable[[], bytes | None]) -> None:
    """As `trace_of`, until this task ends; the header is looked for when something is published."""
    _current.set(find)


def child_traceparent() -> bytes:
    """A `traceparent` for something published now: a new span of the current trace, or of a new sampled one."""
    bound = _current.get()
    if callable(bound):
        bound = bound()
    match = _PATTERN.fullmatch(bound) if bound else None
    if match is None:
        return b"00-%032x-%016x-01" % (_bits(128), _bits(64))
    return b"00-%b-%016x-%b" % (match["trace"], _bits(64), match["flags"])
