"""A fake schema registry: the part of Confluent's REST API that the client uses, over HTTP or TLS.

Ids are global, and the same content has the same id in every subject. A subject rejects a schema that its
compatibility level does not allow. The check is `schemas.evolution`, which has its own tests.
"""

import base64
import contextlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import unquote, urlsplit

from schemas.evolution import Compatibility, Version, breaking_changes
from tests.support.certificates import Certificates

Answer = tuple[int, dict[str, object]]


@dataclass
class RegistryServer:
    """The registry's content, and the recorded requests. Change `password`, `silent` or `failing` to test clients."""

    certificates: Certificates | None = None
    """If set, the server uses TLS, and clients must present the client certificate."""
    user: str | None = None
    password: str = ""
    failing: int | None = None
    """The status of every answer, as behind a broken proxy."""
    silent: threading.Event | None = None
    """If given, answers wait until this event is set."""
    requests: list[str] = field(default_factory=list)
    """Method and path of each request."""
    port: int = 0
    contents: dict[int, str] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"{'http' if self.certificates is None else 'https'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; after a stop on the same port as before."""
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"{}")
                status, answer = registry.answer(self.command, self.path, self.headers.get("Authorization"), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client has closed the connection
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - http.server's names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if self.certificates is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.certificates.authority))
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_cert_chain(self.certificates.server, self.certificates.server_key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening. The content stays."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def count(self, request: str) -> int:
        """Return how often a method and path were requested, without the query."""
        return sum(one == request for one in self.requests)

    def answer(self, method: str, path: str, authorization: str | None, body: dict[str, object]) -> Answer:
        """Return the status and the JSON of a request."""
        place = unquote(urlsplit(path).path)
        self.requests.append(f"{method} {place}")
        if self.silent is not None:
            self.silent.wait(30)
        if self.failing is not None:
            return self.failing, {"error_code": self.failing, "message": "Error in the backend data store"}
        if self.user is not None:
            expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            if authorization != f"Basic {expected}":
                return 401, {"error_code": 401, "message": "Unauthorized"}
        with self._lock:
            return self._found(method, place, body)

    def _found(self, method: str, place: str, body: dict[str, object]) -> Answer:
        if found := re.fullmatch(r"GET /schemas/ids/(\d+)", f"{method} {place}"):
            content = self.contents.get(int(found[1]))
            return (404, _error(40403, "Schema not found")) if content is None else (200, {"schema": content})
        if found := re.fullmatch(r"PUT /config/(.+)", f"{method} {place}"):
            self.levels[found[1]] = str(body["compatibility"])
            return 200, {"compatibility": body["compatibility"]}
        if found := re.fullmatch(r"POST /subjects/([^/]+)/versions", f"{method} {place}"):
            return self._register(found[1], str(body["schema"]))
        if found := re.fullmatch(r"POST /subjects/([^/]+)", f"{method} {place}"):
            return self._looked_up(found[1], str(body["schema"]))
        return 404, _error(404, f"HTTP 404 Not Found: {method} {place}")

    def _register(self, subject: str, content: str) -> Answer:
        schema_id = next((one for one, known in self.contents.items() if known == content), len(self.contents) + 101)
        ids = self.subjects.setdefault(subject, [])
        if schema_id in ids:
            return 200, {"id": schema_id}
        versions = [Version(number, json.loads(self.contents[one])) for number, one in enumerate(ids, start=1)]
        level = cast("Compatibility", self.levels.get(subject, "BACKWARD"))
        if broken := breaking_changes(Version(len(ids) + 1, json.loads(content)), versions, level):
            message = f'Schema being registered is incompatible with an earlier schema for subject "{subject}"'
            return 409, _error(409, f"{message}: {broken[0]}")
        self.contents[schema_id] = content
        ids.append(schema_id)
        return 200, {"id": schema_id}

    def _looked_up(self, subject: str, content: str) -> Answer:
        ids = self.subjects.get(subject)
        if ids is None:
            return 404, _error(40401, f"Subject '{subject}' not found.")
        for version, schema_id in enumerate(ids, start=1):
            if self.contents[schema_id] == content:
                return 200, {"subject": subject, "id": schema_id, "version": version, "schema": content}
        return 404, _error(40403, "Schema not found")


@contextmanager
def running_registry(**given: object) -> Iterator[RegistryServer]:
    """Run a registry for the duration of the block."""
    server = RegistryServer(**given)  # type: ignore[arg-type] # its own fields
    server.start()
    try:
        yield server
    finally:
        if server.silent is not None:
            server.silent.set()
        server.stop()


def _error(code: int, message: str) -> dict[str, object]:
    return {"error_code": code, "message": message}
