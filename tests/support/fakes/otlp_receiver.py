"""A receiver of traces by OTLP, over HTTP and over gRPC: decodes what an exporter sends. It can also stay silent."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import grpc  # type: ignore[import-untyped]  # its stubs are not installed
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

Protocol = Literal["http/protobuf", "grpc"]
Attribute = str | int | float | bool
_KINDS = {number: name.removeprefix("SPAN_KIND_").lower() for name, number in SpanMessage.SpanKind.items()}


@dataclass(frozen=True)
class Link:
    """A link of a received span."""

    trace_id: str
    span_id: str
    attributes: dict[str, Attribute]


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it arrived."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    """Empty: it has no parent."""
    attributes: dict[str, Attribute]
    links: Sequence[Link]
    failed: bool
    events: int
    scope: str
    service: str
    began: int
    """ns since the epoch."""

    @property
    def message_id(self) -> Attribute | None:
        """The id of its event."""
        return self.attributes.get("messaging.message.id")


@dataclass
class Receiver:
    """What arrived so far."""

    endpoint: str = ""
    protocol: Protocol = "http/protobuf"
    spans: list[ReceivedSpan] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    """The requests as they arrived: a test searches them for what must not be there."""
    silent: bool = False
    """True: requests get no answer until the receiver stops."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process sends its spans here soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    def named(self, name: str, message_id: object = None) -> list[ReceivedSpan]:
        """Return the spans whose name begins so, in the order of their start. `message_id`: None is any."""
        found = [one for one in self.spans if one.name.startswith(name)]
        wanted = None if message_id is None else str(message_id)
        return sorted((one for one in found if wanted in {None, one.message_id}), key=lambda one: one.began)

    def below(self, parent: ReceivedSpan) -> list[ReceivedSpan]:
        """Return the children of a span, in the order of their start."""
        return sorted((one for one in self.spans if one.parent_id == parent.span_id), key=lambda one: one.began)

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Decode a request."""
        self.raw.append(request.SerializeToString())
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.spans += [_received(span, scope.scope.name, str(service)) for span in scope.spans]


@contextmanager
def open_receiver(protocol: Protocol = "http/protobuf", *, silent: bool = False) -> Iterator[Receiver]:
    """Start a receiver on a free port of the loopback interface."""
    receiver = Receiver(protocol=protocol, silent=silent)
    stop = _serve_http(receiver) if protocol == "http/protobuf" else _serve_grpc(receiver)
    try:
        yield receiver
    finally:
        receiver.ended.set()
        stop()


def _serve_http(receiver: Receiver) -> Callable[[], None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if receiver.silent:
                receiver.ended.wait()
                return
            receiver.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    receiver.endpoint = f"http://127.0.0.1:{server.server_port}"

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


class _TraceService(TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(  # noqa: N802 - gRPC's name
        self, request: ExportTraceServiceRequest, _context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        if self._receiver.silent:
            self._receiver.ended.wait()
        else:
            self._receiver.take(request)
        return ExportTraceServiceResponse()


def _serve_grpc(receiver: Receiver) -> Callable[[], None]:
    server = grpc.server(ThreadPoolExecutor(4))
    add_TraceServiceServicer_to_server(_TraceService(receiver), server)  # type: ignore[no-untyped-call]  # generated
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return lambda: server.stop(0.5).wait()


def _received(span: SpanMessage, scope: str, service: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        kind=_KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
        links=[Link(one.trace_id.hex(), one.span_id.hex(), _attributes(one.attributes)) for one in span.links],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        events=len(span.events),
        scope=scope,
        service=service,
        began=span.start_time_unix_nano,
    )


def _attributes(pairs: object) -> dict[str, Attribute]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}  # type: ignore[attr-defined]  # protobuf's repeated fields are not iterables of a known type
