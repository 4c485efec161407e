"""A fake Elasticsearch 8 or OpenSearch 2 in memory: the part of REST that the vector index speaks.

It refuses what the real server refuses: fields, parameters and queries that it does not know, vectors of another
length, names in upper case. Like the real one it finds only what was refreshed, and a text by its words, not by its
whole value.
"""

import base64
import json
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from streams.dify.vector_stores.elasticsearch import Product
from tests.support.fakes.http_service import QuietHandler, serving

_PARAMETERS = {"_bulk": {"refresh"}, "_delete_by_query": {"refresh", "conflicts"}, "_count": set(), "_search": set()}
_BODY = {"_count": {"query"}, "_delete_by_query": {"query"}, "_search": {"query", "knn", "size", "_source"}}
_DYNAMIC = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}
_VECTOR_TYPES = {"elasticsearch": "dense_vector", "opensearch": "knn_vector"}
_LARGEST_WINDOW = 10_000


class RequestError(Exception):
    """The server answers with this status and type of error."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.body = {"error": {"type": kind, "reason": reason}, "status": status}


@dataclass
class _Index:
    definition: dict[str, Any]
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    visible: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was there at the last refresh."""

    @property
    def fields(self) -> dict[str, Any]:
        return self.definition["mappings"]["properties"]  # type: ignore[no-any-return]  # JSON of a known form


@dataclass
class ElasticsearchServer:
    """The indexes, and how the server fails."""

    product: Product
    url: str = ""
    user: str = "elastic"
    password: str = "pass:wörd"
    indexes: dict[str, _Index] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next answers."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def login(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def answer(self, method: str, path: str, content_type: str, body: bytes) -> tuple[int, object]:
        url = urlsplit(path)
        name, _, action = url.path.lstrip("/").partition("/")
        parameters = dict(parse_qsl(url.query))
        if unknown := set(parameters) - _PARAMETERS.get(action, set()):
            raise RequestError(400, "illegal_argument_exception", f"unrecognized parameter {sorted(unknown)}")
        if not name:
            return 200, {"version": {"number": "8.14.3"}}
        if name != name.lower():
            raise RequestError(400, "invalid_index_name_exception", f"Invalid index name [{name}], must be lowercase")
        if method == "PUT":
            return 200, self._create(name, json.loads(body))
        if name not in self.indexes:
            assert action != "_bulk", "the real server would create the index"
            raise RequestError(404, "index_not_found_exception", f"no such index [{name}]")
        if method == "DELETE":
            del self.indexes[name]
            return 200, {"acknowledged": True}
        index = self.indexes[name]
        if method == "GET":
            return 200, {name: index.definition}
        answer = self._act(index, action, content_type, body)
        if parameters.get("refresh") == "true":
            index.visible = dict(index.documents)
        return 200, answer

    def _act(self, index: _Index, action: str, content_type: str, body: bytes) -> object:
        if action == "_bulk":
            assert content_type == "application/x-ndjson"
            return self._write(index, body)
        request = json.loads(body)
        if unknown := set(request) - _BODY[action]:
            raise RequestError(400, "parsing_exception", f"unknown key {sorted(unknown)}")
        acts = {"_count": self._count, "_delete_by_query": self._delete_by_query, "_search": self._search}
        return acts[action](index, request)

    def _create(self, name: str, definition: dict[str, Any]) -> object:
        if name in self.indexes:
            raise RequestError(400, "resource_already_exists_exception", f"index [{name}] already exists")
        vector = definition["mappings"]["properties"]["vector"]
        if vector["type"] != _VECTOR_TYPES[self.product]:
            raise RequestError(400, "mapper_parsing_exception", f"No handler for type [{vector['type']}]")
        if self.product == "opensearch":
            assert definition["settings"] == {"index": {"knn": True}}
            assert set(vector) == {"type", "dimension", "method"}
        else:
            assert set(definition) == {"mappings"}
            assert set(vector) == {"type", "dims", "similarity"}
        self.indexes[name] = _Index(definition)
        return {"acknowledged": True, "index": name}

    def _write(self, index: _Index, body: bytes) -> object:
        assert body.endswith(b"\n")
        lines = [json.loads(line) for line in body.decode().splitlines()]
        items = []
        for action, source in zip(lines[::2], lines[1::2], strict=True):
            key = action["index"]["_id"]
            if len(source["vector"]) != _length(index):
                error = {"type": "document_parsing_exception", "reason": "the vector has another number of dimensions"}
                items.append({"index": {"_id": key, "status": 400, "error": error}})
                continue
            known = index.fields["metadata"].setdefault("properties", {})
            for name, value in source["metadata"].items():
                known.setdefault(name, _DYNAMIC if isinstance(value, str) else {"type": "long"})
            index.documents[key] = source
            items.append({"index": {"_id": key, "status": 201}})
        return {"errors": any("error" in one["index"] for one in items), "items": items}

    def _count(self, index: _Index, request: dict[str, Any]) -> object:
        return {"count": len(_found(index, request["query"]))}

    def _delete_by_query(self, index: _Index, request: dict[str, Any]) -> object:
        found = _found(index, request["query"])
        for key in found:
            index.documents.pop(key, None)
        return {"deleted": len(found), "version_conflicts": 0, "failures": []}

    def _search(self, index: _Index, request: dict[str, Any]) -> object:
        if request["size"] > _LARGEST_WINDOW:
            raise RequestError(400, "illegal_argument_exception", "Result window is too large")
        if self.product == "opensearch":
            near = request["query"]["knn"]["vector"]
            vector = near["vector"]
        else:
            near = request["knn"]
            vector = near["query_vector"]
            if not near["k"] <= near["num_candidates"] <= _LARGEST_WINDOW:
                raise RequestError(400, "illegal_argument_exception", "[num_candidates] cannot be less than [k]")
        if len(vector) != _length(index):
            raise RequestError(400, "illegal_argument_exception", "the query vector has a different dimension")
        hits: list[dict[str, Any]] = [
            {"_id": key, "_score": self._score(source["vector"], vector), "_source": source}
            for key, source in index.visible.items()
        ]
        hits.sort(key=lambda hit: -hit["_score"])
        kept = request["_source"]
        shown = [
            {**hit, "_source": {name: hit["_source"][name] for name in kept}}
            for hit in hits[: min(near["k"], request["size"])]
        ]
        return {"hits": {"total": {"value": len(shown)}, "hits": shown}}

    def _score(self, one: list[float], other: list[float]) -> float:
        if self.product == "opensearch":
            return 1 / (1 + math.dist(one, other) ** 2)
        product = sum(a * b for a, b in zip(one, other, strict=True))
        return (1 + product / math.hypot(*one) / math.hypot(*other)) / 2


def _length(index: _Index) -> int:
    vector = index.fields["vector"]
    return int(vector.get("dims") or vector.get("dimension"))


def _found(index: _Index, query: dict[str, Any]) -> list[str]:
    return [key for key, source in index.visible.items() if _fits(index, key, source, query)]


def _fits(index: _Index, key: str, source: dict[str, Any], query: dict[str, Any]) -> bool:
    ((kind, value),) = query.items()
    if kind in {"match_all", "match_none"}:
        assert value == {}
        return bool(kind == "match_all")
    if kind == "ids":
        return key in value["values"]
    if kind == "terms":
        ((name, wanted),) = value.items()
        return bool(_terms(index, source, name) & set(wanted))
    if kind != "bool" or set(value) - {"filter", "should", "must_not", "minimum_should_match"}:
        raise RequestError(400, "parsing_exception", f"unknown query [{kind}]")
    fits = [_fits(index, key, source, one) for one in value.get("should", [])]
    return (
        all(_fits(index, key, source, one) for one in value.get("filter", []))
        and not any(_fits(index, key, source, one) for one in value.get("must_not", []))
        and sum(fits) >= value.get("minimum_should_match", 0)
    )


def _terms(index: _Index, source: dict[str, Any], name: str) -> set[str]:
    """Return what the index has of a field: the whole value of a keyword, the words of a text."""
    parts = name.split(".")
    assert parts[0] == "metadata", name
    mapping = index.fields["metadata"].get("properties", {}).get(parts[1])
    value = source["metadata"].get(parts[1])
    if mapping is None or value is None:
        return set()
    exact = mapping if len(parts) == 2 else mapping.get("fields", {}).get(parts[2], {})
    return {value} if exact.get("type") == "keyword" else set(re.findall(r"\w+", value.lower()))


@contextmanager
def elasticsearch_server(product: Product) -> Iterator[ElasticsearchServer]:
    """Start the server on a free port of the loopback interface."""
    state, stopped = ElasticsearchServer(product), threading.Event()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # noqa: N802 - the library's name
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if state.failures:
                status, headers = state.failures.pop(0)
                self.reply(status, headers, b'{"error": {"type": "not_now", "reason": "not now"}}')
                return
            if self.headers.get("Authorization") != state.login:
                self.reply(401, {}, b'{"error": {"type": "security_exception"}, "status": 401}')
                return
            try:
                with state.lock:
                    status, value = state.answer(self.command, self.path, self.headers.get("Content-Type", ""), sent)
            except RequestError as error:
                status, value = error.status, error.body
            self.reply(status, {"Content-Type": "application/json"}, json.dumps(value).encode())

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - the library's names

    with serving(Handler, stopped) as port:
        state.url = f"http://127.0.0.1:{port}"
        yield state
