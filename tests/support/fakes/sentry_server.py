"""A fake Sentry: takes envelopes, and answers as the test says, also wrongly or not at all."""

import gzip
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = "42"
KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Refusal:
    """An answer instead of a good one."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    raw: bytes | None = None
    """Sent in place of a whole HTTP answer."""
    silent: bool = False
    """True: there is no answer at all."""


@dataclass
class SentryServer:
    """The configured answers, and what was sent."""

    port: int = 0
    envelopes: list[bytes] = field(default_factory=list)
    """The text of each, whatever the answer was."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """The events of the envelopes that were taken."""
    keys: list[str] = field(default_factory=list)
    """The header X-Sentry-Auth of each request."""
    refusals: deque[Refusal] = field(default_factory=deque)
    """The next answers."""
    always: Refusal | None = None
    """The answer to every request, if there is no other."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def dsn(self) -> str:
        """The DSN of the only project."""
        return f"http://{KEY}@127.0.0.1:{self.port}/{PROJECT}"


def items(envelope: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the header and the payload of each item (https://develop.sentry.dev/sdk/data-model/envelopes/)."""
    _, _, rest = envelope.partition(b"\n")
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        header = json.loads(line)
        if "length" in header:
            payload, rest = rest[: header["length"]], rest[header["length"] :].removeprefix(b"\n")
        else:
            payload, _, rest = rest.partition(b"\n")
        yield header, payload


@contextmanager
def sentry_server() -> Iterator[SentryServer]:
    """Start a server on a free port of the loopback interface."""
    state = SentryServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            envelope = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            state.envelopes.append(envelope)
            state.keys.append(self.headers.get("X-Sentry-Auth", ""))
            refusal = state.refusals.popleft() if state.refusals else state.always
            if refusal is None and self.path != f"/api/{PROJECT}/envelope/":
                refusal = Refusal(404)
            if refusal is not None and refusal.silent:
                state.ended.wait(60)
                self.close_connection = True
                return
            if refusal is not None and refusal.raw is not None:
                self.wfile.write(refusal.raw)
                self.close_connection = True
                return
            if refusal is None:
                taken = [json.loads(payload) for header, payload in items(envelope) if header["type"] == "event"]
                state.events.extend(taken)
                refusal = Refusal(200, body=json.dumps({"id": taken[0]["event_id"] if taken else None}).encode())
            self.send_response(refusal.status)
            for name, value in {**refusal.headers, "Content-Length": str(len(refusal.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(refusal.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        thread.join(5)
        server.server_close()
