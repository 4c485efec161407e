"""Spans of the libraries that handlers use: SQLAlchemy, Redis and HTTPX, by OpenTelemetry's instrumentations.

The instrumentations write whatever they see: an error's message may repeat a row, a URL may have a token in its query.
So they get a tracer whose spans take only known attributes. It starts no span outside an attempt that is recorded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext, SpanKind, Status, StatusCode, use_span
from opentelemetry.util.types import Attributes, AttributeValue
from sqlalchemy import Engine

from streams.observability.redaction import redacted


class Instrumentor(Protocol):
    """Wraps the methods of one library."""

    def instrument(self, **options: object) -> None:
        """Wrap them."""

    def uninstrument(self, **options: object) -> None:
        """Restore them."""


_URLS = frozenset({"http.url", "url.full"})
_TEXTS = frozenset({"db.statement", "db.query.text"})
_KNOWN = frozenset(
    {
        "db.system", "db.system.name", "db.name", "db.namespace", "db.operation", "db.operation.name",
        "db.redis.args_length", "db.redis.pipeline_length", "db.redis.database_index",
        "error.type", "http.method", "http.request.method", "http.status_code", "http.response.status_code",
        "net.peer.name", "net.peer.port", "net.transport", "network.transport", "network.protocol.version",
        "server.address", "server.port",
    }
)  # fmt: skip
"""What is written as it is. None of these has a value of an event, a row or a parameter."""

_POOL_EVENTS = frozenset({"connect", "close", "checkin", "checkout"})


class _LibrarySpan(trace.Span):
    """A recorded span that keeps known attributes only, and neither messages nor stacks of errors."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def name(self) -> str:
        """The name, which the instrumentation of Redis reads."""
        return self._span.name if isinstance(self._span, SDKSpan) else ""

    def end(self, end_time: int | None = None) -> None:
        self._span.end(end_time)

    def get_span_context(self) -> SpanContext:
        return self._span.get_span_context()

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        if (kept := _kept(key, value)) is not None:
            self._span.set_attribute(key, kept)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Do nothing: an event may have an error's message."""

    def update_name(self, name: str) -> None:
        """Do nothing: the first name is the operation's."""

    def is_recording(self) -> bool:
        return self._span.is_recording()

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:  # noqa: ARG002 - dropped
        self._span.set_status(Status(status if isinstance(status, StatusCode) else status.status_code))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - OpenTelemetry's signature
    ) -> None:
        """Do nothing: the message may repeat a value."""


class _LibraryTracer(trace.Tracer):
    """Starts spans below a recorded span of this task, and none elsewhere."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(  # noqa: PLR0913, PLR0917 - OpenTelemetry's signature
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002, FBT001, FBT002 - nothing is recorded
        set_status_on_exception: bool = True,  # noqa: ARG002, FBT001, FBT002
    ) -> trace.Span:
        if not trace.get_current_span(context).is_recording():
            return INVALID_SPAN
        span = _LibrarySpan(
            self._tracer.start_span(name, context, kind, links=links, start_time=start_time, record_exception=False)
        )
        span.set_attributes(attributes or {})
        return span

    @contextmanager
    def start_as_current_span(  # type: ignore[override]  # noqa: PLR0913, PLR0917 - OpenTelemetry's signature and decorator
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: ARG002, FBT001, FBT002 - nothing is recorded
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002
        end_on_exit: bool = True,  # noqa: FBT001, FBT002
    ) -> Iterator[trace.Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        with use_span(span, end_on_exit, record_exception=False, set_status_on_exception=set_status_on_exception):
            yield span


class _StatementTracer(EngineTracer):
    """Makes spans of an engine's statements, and no metrics of its pool, whose connections other engines use too."""

    @classmethod
    def _register_event_listener(
        cls, target: Engine, identifier: str, func: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """Listen to an event, but not to the pool's."""
        if identifier not in _POOL_EVENTS:
            super()._register_event_listener(target, identifier, func, *args, **kw)  # type: ignore[no-untyped-call]  # as above


class _LibraryProvider(trace.TracerProvider):
    """The provider that the instrumentations get."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._provider = provider

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        return _LibraryTracer(
            self._provider.get_tracer(instrumenting_module_name, instrumenting_library_version, schema_url, attributes)
        )


@contextmanager
def instrumented(provider: trace.TracerProvider, engines: Sequence[Engine]) -> Iterator[None]:
    """Let the libraries of handlers make spans within the context.

    The ledger's own engines have none. The claim of a delivery is a statement of the handler's transaction, so it is
    among its spans.

    Args:
        provider: What makes the spans.
        engines: The engines of transactions whose attempts are recorded. The instrumentation works on each statement
            before it asks whether there is a span: 25 µs for an attempt, measured.
    """
    limited, meters = _LibraryProvider(provider), NoOpMeterProvider()
    usage = meters.get_meter(__name__).create_up_down_counter("db.client.connections.usage")
    tracer = limited.get_tracer("opentelemetry.instrumentation.sqlalchemy")
    for engine in engines:
        # Its instrumentor would trace every engine of the process.
        _StatementTracer(tracer, engine, usage)  # type: ignore[no-untyped-call]  # the class has no types
    instrumentors = _instrumentors()
    for instrumentor in instrumentors:
        instrumentor.instrument(tracer_provider=limited, meter_provider=meters)
    try:
        yield
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()


def _instrumentors() -> list[Instrumentor]:
    """Return those of the libraries that are installed."""
    found: list[Instrumentor] = []
    if find_spec("redis") is not None:
        from opentelemetry.instrumentation.redis import RedisInstrumentor  # noqa: PLC0415 - imports redis

        found.append(RedisInstrumentor())
    if find_spec("httpx") is not None:
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor  # noqa: PLC0415 - imports httpx

        found.append(HTTPXClientInstrumentor())
    return found


def _kept(key: str, value: AttributeValue) -> AttributeValue | None:
    if key in _KNOWN:
        return value
    if key in _TEXTS:
        return redacted(str(value))
    return redacted(_without_query(str(value))) if key in _URLS else None


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
