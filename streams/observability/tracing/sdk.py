"""OpenTelemetry's SDK behind the interfaces of `span`. The only module, with `instrumentation`, that imports it."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from sqlalchemy import Engine

from streams.observability.tracing.environment import EXPORTER, Export
from streams.observability.tracing.span import ERROR_TYPE, NO_SPAN, OUTCOME, Attributes, Kind, NewSpan, Span
from streams.observability.tracing.traceparent import TraceContext, format_traceparent, parse_traceparent
from streams.settings import SettingsError

logger = logging.getLogger(__name__)
SCOPE = "streams"
MOST_LINKS = 10_000
"""A batch has a link for each of its events. The SDK's default is 128."""
_KINDS: dict[Kind, SpanKind] = {
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "internal": SpanKind.INTERNAL,
}


class RecordedSpan(Span):
    """A span of the SDK, sampled or not."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._is_open = True
        context = span.get_span_context()
        self.traceparent = format_traceparent(TraceContext(context.trace_id, context.span_id, context.trace_flags))
        self.is_recorded = span.is_recording()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Return the context in which this span is the parent of new ones. A cancellation ends the span."""
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except Exception:
                raise
            except BaseException as error:
                self.end("cancelled", type(error).__name__)
                raise

    def end(
        self, outcome: str | None = None, error_type: str | None = None, attributes: Attributes | None = None
    ) -> None:
        """End the span. A second call does nothing."""
        if not self._is_open:
            return
        self._is_open = False
        if self.is_recorded:
            if outcome is not None:
                self._span.set_attribute(OUTCOME, outcome)
            if attributes:
                self._span.set_attributes(attributes)
            if error_type is not None:
                self._span.set_attribute(ERROR_TYPE, error_type)
                self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class OpenTelemetryTracer:
    """Starts spans of the pipeline with a provider of the SDK."""

    def __init__(
        self, provider: TracerProvider, *, follows_parent: bool, shut_down: Callable[[], None] | None = None
    ) -> None:
        """Create the tracer.

        Args:
            provider: What makes the spans, also those of the instrumented libraries.
            follows_parent: Whether its sampler records nothing below a span that was not sampled.
            shut_down: Sends the last spans and ends the provider. None: the application does that.
        """
        self.provider = provider
        self.follows_parent = follows_parent
        self._tracer = provider.get_tracer(SCOPE)
        self._shut_down = shut_down

    def start(self, new: NewSpan) -> Span:
        """Start a span now."""
        span = self._tracer.start_span(
            new.name,
            context=_remote_context(new.parent),
            kind=_KINDS[new.kind],
            attributes=new.attributes,
            links=[
                trace.Link(context, one.attributes)
                for one in new.links
                if (context := _span_context(one.traceparent)) is not None
            ],
        )
        return RecordedSpan(span) if span.get_span_context().is_valid else NO_SPAN

    def is_recording(self) -> bool:
        """Return whether a span of this task is recorded now."""
        return trace.get_current_span().is_recording()

    def current_ids(self) -> tuple[str, str] | None:
        """Return trace id and span id of this task's current span. None: none is recorded."""
        span = trace.get_current_span()
        if not span.is_recording():
            return None
        context = span.get_span_context()
        return f"{context.trace_id:032x}", f"{context.span_id:016x}"

    def instrumented(self, engines: Sequence[Engine]) -> AbstractContextManager[None]:
        """Return the context in which the libraries that handlers use make spans below those of their attempts.

        Args:
            engines: The engines of transactions whose attempts are recorded.
        """
        # A service that only publishes needs none of these libraries.
        from streams.observability.tracing.instrumentation import instrumented  # noqa: PLC0415

        return instrumented(self.provider, engines)

    def close(self, seconds: float) -> None:
        """Send the last spans, for at most this many seconds. A receiver that does not answer loses them."""
        if self._shut_down is None:
            return
        # The SDK's own shutdown waits up to 30 s.
        closing = threading.Thread(target=self._shut_down, name="tracing-shutdown", daemon=True)
        closing.start()
        closing.join(seconds)
        if closing.is_alive():
            logger.warning("the receiver of traces did not answer in time; the last spans are lost")


def build_tracer(export: Export | None, application: str) -> OpenTelemetryTracer | None:
    """Return a tracer with the application's own provider, or else with a new one for the exporter.

    Args:
        export: How spans are exported. None: only the application's own provider counts.
        application: The default for the resource's `service.name`.

    Raises:
        SettingsError: The exporter is not installed or rejects its variables.
    """
    own = trace.get_tracer_provider()
    if isinstance(own, TracerProvider) and not isinstance(own, _PipelineProvider):
        return OpenTelemetryTracer(own, follows_parent=False)
    if export is None:
        return None
    processor = BatchSpanProcessor(_build_exporter(export))
    provider = _PipelineProvider(
        resource=_resource(application),
        span_limits=SpanLimits(max_links=_most_links()),
        # The SDK would wait up to 30 s at the end of the process.
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    if not isinstance(own, _PipelineProvider):
        trace.set_tracer_provider(provider)  # for the spans that handlers start themselves
    return OpenTelemetryTracer(provider, follows_parent=export.follows_parent, shut_down=provider.shutdown)


class _PipelineProvider(TracerProvider):
    """The provider that this module has made."""


def _resource(application: str) -> Resource:
    named = "OTEL_SERVICE_NAME" in os.environ or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if named else {SERVICE_NAME: application})


def _most_links() -> int | None:
    return None if "OTEL_SPAN_LINK_COUNT_LIMIT" in os.environ else MOST_LINKS


def _build_exporter(export: Export) -> SpanExporter:
    name = f"otlp_proto_{export.protocol.partition('/')[0]}" if export.exporter == "otlp" else export.exporter
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
    if found is None:
        message = f"{EXPORTER}: no exporter {export.exporter!r} is installed; write otlp, console or none"
        raise SettingsError(message)
    try:
        exporter = found.load()()
    except Exception as error:
        message = f"{EXPORTER}: the exporter {export.exporter!r} cannot start: {type(error).__name__}: {error}"
        raise SettingsError(" ".join(message.split())) from error
    if not isinstance(exporter, SpanExporter):
        message = f"{EXPORTER}: {export.exporter!r} exports no spans"
        raise SettingsError(message)
    return exporter


def _span_context(traceparent: bytes) -> SpanContext | None:
    parsed = parse_traceparent(traceparent)
    if parsed is None:
        return None
    return SpanContext(parsed.trace_id, parsed.span_id, is_remote=True, trace_flags=TraceFlags(parsed.flags))


def _remote_context(traceparent: bytes | None) -> Context | None:
    """Return the context of a parent in another process. None: the current one of this task."""
    if traceparent is None:
        return None
    context = _span_context(traceparent)
    return Context() if context is None else trace.set_span_in_context(NonRecordingSpan(context), Context())
