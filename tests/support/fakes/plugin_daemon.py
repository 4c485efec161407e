"""A fake plugin daemon that embeds texts: the platform's protocol, with a key, a plugin and the tenant's credential."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.fakes.embedding_server import numbers_of
from tests.support.fakes.http_service import QuietHandler, serving

DAEMON_KEY = "daemon-key"


@dataclass
class PluginDaemonServer:
    """The configured answers, and the recorded requests."""

    url: str = ""
    accepted: dict[str, object] = field(default_factory=dict)
    """The credential that the provider accepts."""
    requests: list[dict[str, Any]] = field(default_factory=list)
    """The `data` of each request, with `tenant` and `plugin` added."""
    errors: deque[dict[str, object]] = field(default_factory=deque)
    """The next events, in place of vectors."""
    refused: set[str] = field(default_factory=set)
    """Texts that the provider rejects, whatever else is in the request."""
    bodies: deque[bytes] = field(default_factory=deque)
    """The next bodies, as they are."""
    statuses: deque[int] = field(default_factory=deque)
    """The status of the next answers."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def event(self, data: dict[str, Any]) -> dict[str, object]:
        """Return the event that answers a request."""
        if self.errors:
            return self.errors.popleft()
        if data["credentials"] != self.accepted:
            return provider_error("InvokeAuthorizationError", f"Incorrect API key: {data['credentials']}")
        if self.refused.intersection(data["texts"]):
            return provider_error("InvokeBadRequestError", "the input is not allowed")
        vectors = [numbers_of(text) for text in data["texts"]]
        usage = {"tokens": 1, "total_tokens": 1, "unit_price": "0", "price_unit": "0", "total_price": "0"}
        return {
            "code": 0,
            "message": "success",
            "data": {"model": data["model"], "embeddings": vectors, "usage": usage},
        }

    @property
    def texts(self) -> list[str]:
        return [text for request in self.requests for text in request["texts"]]


def daemon_error(kind: str, message: str) -> dict[str, object]:
    """Return the event of an error of the daemon."""
    return {"code": -500, "message": json.dumps({"error_type": kind, "message": message}), "data": None}


def provider_error(kind: str, message: str) -> dict[str, object]:
    """Return the event of an error of a provider, as the daemon wraps it."""
    return daemon_error("PluginInvokeError", json.dumps({"error_type": kind, "message": message, "args": None}))


@contextmanager
def plugin_daemon() -> Iterator[PluginDaemonServer]:
    """Start the daemon on a free port of the loopback interface."""
    state, stopped = PluginDaemonServer(), threading.Event()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802 - the library's name
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            empty, plugin, tenant, *rest = self.path.split("/")
            if (empty, plugin, rest) != ("", "plugin", ["dispatch", "text_embedding", "invoke"]):
                self.reply(404, {}, b"{}")
                return
            if self.headers.get("X-Api-Key") != DAEMON_KEY:
                self.reply(401, {}, b'{"code": -401, "message": "unauthorized"}')
                return
            assert self.headers["Content-Type"] == "application/json"
            assert set(body) == {"user_id", "data"}, body
            names = {"provider", "model_type", "model", "credentials", "texts", "input_type"}
            assert set(body["data"]) == names, body
            assert body["data"]["model_type"] == "text-embedding"
            with state.lock:
                state.requests.append({**body["data"], "tenant": tenant, "plugin": self.headers["X-Plugin-ID"]})
                status = state.statuses.popleft() if state.statuses else 200
                if state.bodies:
                    answer = state.bodies.popleft()
                else:
                    answer = f"data: {json.dumps(state.event(body['data']))}\n\n".encode()
            self.reply(status, {"Content-Type": "text/event-stream"}, answer)

    with serving(Handler, stopped) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state
