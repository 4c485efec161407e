"""A fake chat server with OpenAI's protocol. The test sets its answers."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Barrier, Lock, Thread


@dataclass(frozen=True)
class Reply:
    """An HTTP response: status, body, headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[str, int], Reply]
"""Returns the reply for a text and the number of earlier requests with the same text."""


def completion(content: str | None, finish_reason: str = "stop") -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return Reply(200, json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def two_pairs(text: str, _: int) -> Reply:
    """Return two questions with their answers, as a good model would."""
    name = text.split(".", maxsplit=1)[0]
    return completion(f"Q1: What of {name}?\nA1: {text}\nQ2: Where is {name}?\nA2: In the text.")


class ChatServer:
    """Answers each request with `answer`, and records the requests."""

    def __init__(self) -> None:
        self.answer: Answer = two_pairs
        self.request_counts: Counter[str] = Counter()
        self.requests: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.together: Barrier | None = None
        """If set, requests wait until this many are in progress."""
        self._lock = Lock()

    def reply(self, body: bytes, key: str | None) -> Reply:
        request = json.loads(body)
        text = request["messages"][-1]["content"]
        with self._lock:
            self.requests.append(request)
            self.keys.append(key)
            before = self.request_counts[text]
            self.request_counts[text] += 1
        if self.together is not None:
            self.together.wait(10)
        return self.answer(text, before)


@contextmanager
def chat_server() -> Iterator[tuple[ChatServer, str]]:
    """Start a server. Yields it with its address, without the path."""
    server = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == "/v1/chat/completions"
            reply = server.reply(body, self.headers["Authorization"]) if known else Reply(404, b"no such path")
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
            """Log nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server, f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
