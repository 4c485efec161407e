"""A fake Weaviate 1.27 in memory: the part of REST and GraphQL that the vector index speaks, with the server's answers.

The same suite has passed with the real server: STREAMS_TEST_WEAVIATE_URL names one.
"""

import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.fakes.http_service import QuietHandler, serving

_QUERY = re.compile(r"\{(Get|Aggregate)\{(\w+)(?:\((.*)\))?\{(.*?)\}+$", re.DOTALL)
_LIMIT = 500
"""Objects that one request deletes. The real server has 10,000."""


@dataclass
class _Class:
    schema: dict[str, Any]
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    length: int | None = None
    """Of the first vector. It stays when all objects are deleted."""


@dataclass
class WeaviateServer:
    """The classes, and how the server fails."""

    url: str = ""
    key: str = "test-key"
    classes: dict[str, _Class] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next answers."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, object]:  # noqa: ANN401, PLR0911 - JSON of any form, and one branch per path
        if path == "/v1/meta":
            return 200, {"hostname": self.url, "modules": {}, "version": "1.27.0"}
        if path == "/v1/graphql":
            return 200, self._query(body["query"])
        if path == "/v1/batch/objects":
            return 200, self._put(body["objects"]) if method == "POST" else self._delete(body["match"])
        if path == "/v1/schema":
            if body["class"] in self.classes:
                return 422, {"error": [{"message": f"class name {body['class']} already exists"}]}
            self.classes[body["class"]] = _Class(body)
            return 200, body
        name = path.removeprefix("/v1/schema/")
        if method == "DELETE":
            self.classes.pop(name, None)
            return 200, None
        return (200, self.classes[name].schema) if name in self.classes else (404, None)

    def _put(self, objects: list[dict[str, Any]]) -> list[object]:
        answers: list[object] = []
        for one in objects:
            known = self.classes[one["class"]]
            vector = one["vectors"]["default"] if "vectorConfig" in known.schema else one["vector"]
            known.length = known.length or len(vector)
            names = {item["name"] for item in known.schema["properties"]}
            known.schema["properties"] += [
                {"name": name, "dataType": ["text"]} for name in one["properties"] if name not in names
            ]
            if len(vector) != known.length:
                text = f"new node has a vector with length {len(vector)}. Existing nodes have {known.length}"
                answers.append({**one, "result": {"status": "FAILED", "errors": {"error": [{"message": text}]}}})
            else:
                known.objects[one["id"]] = {**one["properties"], "": vector}
                answers.append({**one, "result": {"status": "SUCCESS"}})
        return answers

    def _delete(self, match: dict[str, Any]) -> dict[str, Any]:
        known = self.classes[match["class"]]
        found = [key for key, one in known.objects.items() if _fits(known, one, match["where"])]
        for key in found[:_LIMIT]:
            del known.objects[key]
        done = min(len(found), _LIMIT)
        return {"results": {"failed": 0, "limit": _LIMIT, "matches": done, "objects": None, "successful": done}}

    def _query(self, query: str) -> dict[str, Any]:
        parsed = _QUERY.fullmatch(query)
        assert parsed is not None, query
        kind, name, arguments, _ = parsed.groups()
        if name not in self.classes:
            return {"errors": [{"message": f'Cannot query field "{name}" on type "{kind}ObjectsObj".', "path": None}]}
        quoted = re.sub(r"([{,(])(\w+):", r'\1"\2":', f"{{{arguments or ''}}}")
        values = json.loads(re.sub(r'"operator":(\w+)', r'"operator":"\1"', quoted))
        known = self.classes[name]
        found = [one for one in known.objects.values() if _fits(known, one, values.get("where"))]
        if kind == "Aggregate":
            return {"data": {kind: {name: [{"meta": {"count": len(found)}}]}}}
        near = values.get("nearVector")
        rows = [{**one, "_additional": self._extra(known, one, near)} for one in found]
        rows.sort(key=lambda row: row["_additional"]["distance"])
        return {"data": {kind: {name: rows[: values["limit"]]}}}

    @staticmethod
    def _extra(known: _Class, one: dict[str, Any], near: dict[str, Any] | None) -> dict[str, Any]:
        is_named = "vectorConfig" in known.schema
        extra = {"vectors": {"default": one[""]}} if is_named else {"vector": one[""]}
        if near is None:
            return {**extra, "distance": 0}
        assert ("targetVectors" in near) == is_named
        product = sum(a * b for a, b in zip(one[""], near["vector"], strict=True))
        return {**extra, "distance": 1 - product / math.hypot(*one[""]) / math.hypot(*near["vector"])}


def _fits(known: _Class, one: dict[str, Any], where: dict[str, Any] | None) -> bool:
    if where is None:
        return True
    if where["operator"] in {"And", "Or"}:
        results = [_fits(known, one, operand) for operand in where["operands"]]
        return all(results) if where["operator"] == "And" else any(results)
    (name,) = where["path"]
    assert name in {item["name"] for item in known.schema["properties"]}, f"no such prop with name {name!r}"
    if where["operator"] == "ContainsAny":
        return one.get(name) in where["valueTextArray"]
    assert where["operator"] == "Equal"
    return bool(one.get(name) == where["valueText"])


@contextmanager
def weaviate_server() -> Iterator[WeaviateServer]:
    """Start the server on a free port of the loopback interface."""
    state, stopped = WeaviateServer(), threading.Event()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802 - the library's name
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.failures:
                status, headers = state.failures.pop(0)
                self.reply(status, headers, b'{"error": [{"message": "not now"}]}')
            elif self.headers.get("Authorization") != f"Bearer {state.key}":
                self.reply(401, {}, b'{"code": 401, "message": "anonymous access not enabled"}')
            else:
                with state.lock:
                    status, value = state.answer(self.command, self.path, json.loads(sent) if sent else None)
                self.reply(status, {}, b"" if value is None else json.dumps(value).encode())

        do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

    with serving(Handler, stopped) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state
