"""A fake embedding server with OpenAI's protocol. The test sets its errors."""

import json
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DIMENSIONS = 8
Change = Callable[[list[dict[str, object]]], list[dict[str, object]]]


def numbers_of(text: str) -> list[float]:
    """Return a vector that is not of length one, so that the client has to normalise it."""
    return [byte / 16 + 0.1 for byte in sha256(text.encode()).digest()[:DIMENSIONS]]


def unit(numbers: list[float]) -> list[float]:
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


@dataclass
class EmbeddingServer:
    """The configured answers, and the recorded requests."""

    url: str = ""
    requests: list[list[str]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    refusals: deque[tuple[int, Mapping[str, str]]] = field(default_factory=deque)
    """Status and headers of the next answers. Then the server works again."""
    then: tuple[int, Mapping[str, str]] | None = None
    """Status and headers of an error after each good answer."""
    special: dict[str, object] = field(default_factory=dict)
    """Values that are sent instead of a text's vector, by text."""
    refused: set[str] = field(default_factory=set)
    """Rejected texts: a request that contains one gets 400."""
    change: Change = list
    """Applied to the list of vectors in each answer."""
    together: threading.Barrier | None = None
    """If set, requests wait until this many are in progress."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, texts: list[str], key: str | None) -> tuple[int, Mapping[str, str], object]:
        with self.lock:
            self.requests.append(texts)
            self.keys.append(key)
            refusal = self.refusals.popleft() if self.refusals else None
        if self.together is not None:
            with suppress(threading.BrokenBarrierError):
                self.together.wait(10)
        if refusal is not None:
            return *refusal, {"error": {"message": "not now"}}
        if self.refused.intersection(texts):
            return 400, {}, {"error": {"message": "input is not allowed"}}
        items: list[dict[str, object]] = [
            {"object": "embedding", "index": index, "embedding": self.special.get(text, numbers_of(text))}
            for index, text in enumerate(texts)
        ]
        if self.then is not None:
            self.refusals.append(self.then)
        return 200, {}, {"object": "list", "data": self.change(items)}

    @property
    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request]


@contextmanager
def embedding_server() -> Iterator[EmbeddingServer]:
    """Start a server on a free port of the loopback interface."""
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/embeddings", self.path
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert request["model"] == "test-model"
            status, headers, body = state.answer(request["input"], self.headers.get("Authorization"))
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()
