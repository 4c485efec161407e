"""A fake server for the services that documents come from."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Service:
    """The configured answers by method and path (status, headers, JSON value), and the recorded requests."""

    answers: dict[str, tuple[int, dict[str, str], object]] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Method and path of each request, with its Authorization header or API key."""
    url: str = ""

    def answer(self, request: str, value: object, status: int = 200, **headers: str) -> None:
        self.answers[request] = (status, headers, value)


@contextmanager
def open_service() -> Iterator[Service]:
    """Start a server that answers 404 until answers are configured."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            cursor = json.loads(body).get("start_cursor") if body else None
            request = f"{self.command} {self.path}"
            service.requests.append((request, self.headers.get("Authorization") or self.headers.get("X-API-Key")))
            query = urlsplit(self.path).query if "start_cursor" in self.path else None
            without_query = f"{self.command} {urlsplit(self.path).path}"
            next_page = f"{without_query} more" if query or cursor else without_query
            status, headers, value = service.answers.get(request) or service.answers.get(next_page) or (404, {}, {})
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    yield service
    server.shutdown()
    server.server_close()
    thread.join()
