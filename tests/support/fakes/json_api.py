"""A fake HTTP service that records requests and answers what the test says, also garbage or nothing."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: dict[str, object]


@dataclass(frozen=True)
class Reply:
    """A response; status 0: bytes that are no HTTP, -1: nothing until the test ends."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


GARBAGE, NOTHING = Reply(0, b"\x00\x01 this is no HTTP\r\n\r\n"), Reply(-1)


@dataclass
class JsonApi:
    """Answers each request with `answer`, which gets the number of earlier ones too."""

    answer: Callable[[Asked, int], Reply] = lambda _asked, _before: Reply(200)
    requests: list[Asked] = field(default_factory=list)
    ended: Event = field(default_factory=Event)


@contextmanager
def json_api() -> Iterator[tuple[JsonApi, str]]:
    """Start a server. Yields it with its address."""
    api = JsonApi()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, json.loads(raw) if raw else {})
            before = len(api.requests)
            api.requests.append(asked)
            reply = api.answer(asked, before)
            if reply.status < 0:
                api.ended.wait(30)
            elif reply.status == 0:
                self.wfile.write(reply.body)
            else:
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
            self.close_connection = True

        do_POST = do_DELETE = do_GET = _answer  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
            """Log nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield api, f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        api.ended.set()
        http.shutdown()
        thread.join()
        http.server_close()
