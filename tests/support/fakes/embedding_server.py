"""A server that speaks OpenAI's embeddings protocol, and misbehaves as it is told."""

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
    """Not of length one, so that somebody has to see to it."""
    return [byte / 16 + 0.1 for byte in sha256(text.encode()).digest()[:DIMENSIONS]]


def unit(numbers: list[float]) -> list[float]:
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


@dataclass
class EmbeddingServer:
    """What it answers, and what it was asked."""

    url: str = ""
    requests: list[list[str]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    refusals: deque[tuple[int, Mapping[str, str]]] = field(default_factory=deque)
    """Status and headers of the next answers, before it works again."""
    then: tuple[int, Mapping[str, str]] | None = None
    """The refusal that follows each answer."""
    special: dict[str, object] = field(default_factory=dict)
    """Text → what comes instead of its vector."""
    refused: set[str] = field(default_factory=set)
    """Texts that it does not take: 400 for every request that holds one."""
    change: Change = list
    """What is done to the list of a whole answer."""
    together: threading.Barrier | None = None
    """Requests wait until so many are there."""
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
    """Listens on a free port of this machine."""
    state = EmbeddingServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/embeddings", self.path
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert asked["model"] == "test-model"
            status, headers, body = state.answer(asked["input"], self.headers.get("Authorization"))
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Silent."""

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
