"""A fake server that takes traces as Langfuse does, and as an OTLP endpoint does. The test sets its errors."""

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.fakes.http_service import QuietHandler, serving

LANGFUSE = "/api/public/ingestion"
OTLP = "/v1/traces"
MULTI_STATUS = 207


@dataclass(frozen=True)
class Refusal:
    """The next answer instead of a good one."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    silent: bool = False
    """True: there is no answer at all."""


@dataclass
class TraceServer:
    """The configured answers, and the recorded requests."""

    url: str = ""
    requests: list[tuple[str, str | None, Any]] = field(default_factory=list)
    """Path, Authorization header and JSON of each request."""
    refusals: deque[Refusal] = field(default_factory=deque)
    partly: dict[str, int] = field(default_factory=dict)
    """Langfuse: the status of events that it does not take, by their type."""
    rejected_spans: int = 0
    """OTLP: how many spans it says that it has rejected."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        """The batches that Langfuse got."""
        return [body["batch"] for path, _, body in self.requests if path == LANGFUSE]

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The spans that the OTLP endpoint got."""
        found = [body["resourceSpans"] for path, _, body in self.requests if path == OTLP]
        return [
            span for resources in found for one in resources for scope in one["scopeSpans"] for span in scope["spans"]
        ]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        if path == OTLP:
            rejected = {"rejectedSpans": str(self.rejected_spans)} if self.rejected_spans else {}
            return 200, {"partialSuccess": rejected}
        if path != LANGFUSE:
            return 404, {}
        taken = [{"id": one["id"], "status": 201} for one in body["batch"] if one["type"] not in self.partly]
        errors = [
            {"id": one["id"], "status": self.partly[one["type"]]} for one in body["batch"] if one["type"] in self.partly
        ]
        return MULTI_STATUS, {"successes": taken, "errors": errors}


@contextmanager
def trace_server() -> Iterator[TraceServer]:
    """Start a server on a free port of the loopback interface."""
    state = TraceServer()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append((self.path, self.headers.get("Authorization"), body))
            refusal = state.refusals.popleft() if state.refusals else None
            if refusal is not None and refusal.silent:
                state.ended.wait(60)
                return
            if refusal is None:
                status, answer = state.answer(self.path, body)
                refusal = Refusal(status, {}, json.dumps(answer).encode())
            self.reply(refusal.status, refusal.headers, refusal.body)

    with serving(Handler, state.ended) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state
