"""A fake HTTP service: answers as configured, also wrongly or not at all, and records the requests."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit


class QuietHandler(BaseHTTPRequestHandler):
    """Logs nothing, and sends whole responses."""

    def reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a response with its length."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Log nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], stopped: threading.Event) -> Iterator[int]:
    """Serve on a free port of the loopback interface, and yield it. At the end `stopped` frees what hangs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        stopped.set()
        server.shutdown()
        thread.join(5)
        server.server_close()


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    line: str
    """Method and path without the query."""
    query: dict[str, str]
    headers: dict[str, str]
    """With names in lower case."""
    body: object
    """JSON, or None."""


@dataclass(frozen=True)
class Answer:
    """A response. `value` is sent as JSON, unless it is bytes."""

    value: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


NOTHING = Answer(status=0)
"""The connection is closed without a response."""
SILENCE = Answer(status=-1)
"""No response until the server stops."""
Answering = Callable[[Request], Answer]


@dataclass
class HttpService:
    """The configured answers by request line, and the recorded requests."""

    answers: dict[str, Answering] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    url: str = ""

    def answer(self, line: str, answer: Answer | Answering) -> None:
        """Answer a request line in this way from now on."""
        self.answers[line] = answer if callable(answer) else lambda _: answer

    def bodies(self, line: str) -> list[object]:
        """Return the bodies of the requests with this line."""
        return [one.body for one in self.requests if one.line == line]


@contextmanager
def open_http_service() -> Iterator[HttpService]:
    """Start a server that answers 404 until answers are configured."""
    service, stopped = HttpService(), threading.Event()

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(
                f"{self.command} {parts.path}",
                dict(parse_qsl(parts.query)),
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(sent) if sent else None,
            )
            service.requests.append(request)
            answering = service.answers.get(request.line)
            answer = answering(request) if answering else Answer({}, 404)
            if answer.status <= 0:
                if answer is SILENCE:
                    stopped.wait(20)
                self.close_connection = True
                return
            body = answer.value if isinstance(answer.value, bytes) else json.dumps(answer.value).encode()
            self.reply(answer.status, answer.headers, body)

        do_POST = do_GET  # noqa: N815 - the library's name

    with serving(Handler, stopped) as port:
        service.url = f"http://127.0.0.1:{port}"
        yield service
