"""A fake Sentry: takes envelopes, and answers as the test says, also wrongly or not at all."""

import gzip
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.fakes.http_service import QuietHandler, serving

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

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
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
            self.reply(refusal.status, refusal.headers, refusal.body)

    with serving(Handler, state.ended) as port:
        state.port = port
        yield state
