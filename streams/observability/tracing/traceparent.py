"""W3C trace context. The first producer creates it, every hop passes it on (https://www.w3.org/TR/trace-context/)."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_PATTERN = re.compile(rb"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_HIDE_DIGITS = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_SHAPE = b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"
_EVEN_DIGITS = b"02468ace"
_SAMPLED = 1
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16
_bits = random.getrandbits
"""Seeded by the system, again after a fork. An id must be unique, not secret, and the system's source is slower."""
_current: ContextVar[bytes | Callable[[], bytes | None] | None] = ContextVar("traceparent", default=None)


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The values of a `traceparent` header."""

    trace_id: int
    span_id: int
    flags: int

    @property
    def is_sampled(self) -> bool:
        """Whether the sender may have recorded its span."""
        return bool(self.flags & _SAMPLED)


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


def bound_traceparent() -> bytes | None:
    """Return the header that this task publishes with. None: it has no trace yet."""
    bound = _current.get()
    return bound() if callable(bound) else bound


def child_traceparent() -> bytes:
    """Return a `traceparent` for a record: a new span of the current trace, or of a new sampled trace."""
    bound = _current.get()
    if callable(bound):
        bound = bound()
    match = _PATTERN.fullmatch(bound) if bound else None
    if match is None:
        return b"00-%032x-%016x-01" % (_bits(128), _bits(64))
    return b"00-%b-%016x-%b" % (match["trace"], _bits(64), match["flags"])


def parse_traceparent(header: bytes | None) -> TraceContext | None:
    """Return the values of a header. None: it is missing or invalid."""
    match = _PATTERN.fullmatch(header) if header else None
    if match is None:
        return None
    found = TraceContext(int(match["trace"], 16), int(match["span"], 16), int(match["flags"], 16))
    return found if found.trace_id and found.span_id else None


def is_unsampled(header: bytes | None) -> bool:
    """Return whether a valid header says that its trace is not sampled.

    A worker asks that for each unit, so no pattern is matched: among a worker's other work, that took 1 to 2 µs longer.
    """
    return (
        header is not None
        and header[-1:] in _EVEN_DIGITS
        and header.startswith(b"00-")
        and header.translate(_HIDE_DIGITS) == _SHAPE
    )


def format_traceparent(context: TraceContext) -> bytes:
    """Return the header of these values."""
    return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.flags)


def trace_id_of(header: bytes | None) -> str | None:
    """Return the trace id of a header, 32 hexadecimal digits. None: it is missing or invalid.

    The ledger asks that for each row, so no number is made of the digits.
    """
    match = _PATTERN.fullmatch(header) if header else None
    if match is None or match["trace"] == _NO_TRACE or match["span"] == _NO_SPAN:
        return None
    return match["trace"].decode()
