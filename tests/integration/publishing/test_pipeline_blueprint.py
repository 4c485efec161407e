"""The blueprint in a Flask app, on a real Redis, with modules that have the names and signatures of the platform's."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest
from flask import Flask
from redis import Redis
from werkzeug.exceptions import NotFound
from werkzeug.test import TestResponse

from streams.publishing.bridges import pipeline_blueprint
from streams.publishing.bridges.errors import BridgeError
from streams.publishing.bridges.pipeline_blueprint import LEASE, PATH, Pipelines, RedisClient, Runs, init_app
from streams.publishing.bridges.platform_pipelines import PlatformPipelines
from streams.settings import Settings

SECTION, TOPIC = "The whole domain", "pipeline.run-requested"
KEY = {"Authorization": "Bearer key"}
TENANT, FILE = str(uuid4()), str(uuid4())


class OwnRuns:
    """Runs of the test by name, and how often each was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.runs: dict[str, Callable[[], None]] = {name: lambda: None for name in ("a", "b", "c")}

    def runs_of_file(self, tenant_id: str, file_id: str) -> Runs:
        assert (tenant_id, file_id) == (TENANT, FILE)
        return {name: self._counted(name) for name in self.runs}

    def retries_of_documents(self, tenant_id: str, dataset_id: str, document_ids: Sequence[str]) -> Runs:
        raise NotImplementedError

    def _counted(self, name: str) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.runs[name]()

        return run


@pytest.fixture
def redis(settings: Settings) -> Iterator["Redis"]:
    with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        yield client


def _request(event_id: str | None = None, **fields: object) -> dict[str, object]:
    return {"event_id": event_id or str(uuid4()), "tenant_id": TENANT, "file_id": FILE, **fields}


def _app(redis: "Redis", pipelines: Pipelines) -> Flask:
    app = Flask("platform")
    init_app(app, cast("RedisClient", redis), key="key", pipelines=pipelines)
    return app


def _post(app: Flask, body: object, headers: dict[str, str] | None = None) -> TestResponse:
    return app.test_client().post(PATH, json=body, headers=KEY if headers is None else headers)


def _answer(app: Flask, body: object) -> dict[str, object]:
    return cast("dict[str, object]", _post(app, body).json)


@pytest.mark.requirement(SECTION, f"{TOPIC}: the platform's side asks for a key")
def test_a_key_is_needed(redis: "Redis") -> None:
    """No key, a wrong one, or a body that is no JSON object: nothing runs. Without an own key it does not start."""
    runs = OwnRuns()
    app = _app(redis, runs)
    for wrong in ({}, {"Authorization": "Bearer kéy"}, {"Authorization": "key"}):
        assert _post(app, _request(), wrong).status_code == 401
    assert _post(app, ["event"]).status_code == 400
    for body in ({}, _request("event"), _request(tenant_id=None), _request(file_id="file")):
        assert _answer(app, body)["state"] == "refused"
    assert runs.calls == []
    for key in (None, ""):
        with pytest.raises(BridgeError, match="needs a key"):
            init_app(Flask("platform"), cast("RedisClient", redis), key=key, pipelines=runs)


@pytest.mark.requirement(SECTION, f"{TOPIC}: the platform's side runs each event once")
def test_a_repeat_runs_nothing_again(redis: "Redis") -> None:
    """Also at another process of the API. Another event runs."""
    runs, body = OwnRuns(), _request()
    for _ in range(2):
        assert _answer(_app(redis, runs), body) == {"state": "done", "runs": 3}
    assert sorted(runs.calls) == ["a", "b", "c"]
    assert _answer(_app(redis, runs), _request()) == {"state": "done", "runs": 3}
    assert len(runs.calls) == 6


@pytest.mark.requirement(SECTION, f"{TOPIC}: after a failure only the failed runs run again")
def test_only_failed_runs_run_again(redis: "Redis") -> None:
    """The answer names the kinds of the errors and not their texts, which may be personal."""
    runs, body = OwnRuns(), _request()

    def fail() -> None:
        message = "the file of Ada Lovelace"
        raise ValueError(message)

    runs.runs["b"] = fail
    answer = _answer(_app(redis, runs), body)
    assert answer == {"state": "failed", "reason": "1 of 3 runs: ValueError"}
    runs.runs["b"] = lambda: None
    assert _answer(_app(redis, runs), body) == {"state": "done", "runs": 3}
    assert sorted(runs.calls) == ["a", "b", "b", "c"]


@pytest.mark.requirement(SECTION, f"{TOPIC}: a run that is under way is not started again, a killed one is")
def test_a_run_under_way_is_not_started_again(redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is renewed while the run goes on. If its process is killed, the lease expires and the run starts."""
    monkeypatch.setattr(pipeline_blueprint, "LEASE_SECONDS", 1)
    runs, body = OwnRuns(), _request()
    lease = LEASE.format(body["event_id"])
    seen: list[object] = []

    def ask_again() -> None:
        before = redis.pttl(lease)
        while (now := redis.pttl(lease)) <= before:  # until it is renewed; the test's own time limit bounds it
            before = now
            threading.Event().wait(0.01)
        seen.append(_answer(_app(redis, runs), body))

    runs.runs = {"a": ask_again}
    assert _answer(_app(redis, runs), body) == {"state": "done", "runs": 1}
    assert seen == [{"state": "running", "retry_after": 5}]
    assert redis.get(lease) is None
    killed = _request()
    redis.set(LEASE.format(killed["event_id"]), "of a killed process", px=300)
    runs.runs = {"a": lambda: None}
    answers = [_answer(_app(redis, runs), killed)]
    while answers[-1]["state"] == "running":
        threading.Event().wait(0.05)
        answers.append(_answer(_app(redis, runs), killed))
    assert len(answers) > 1
    assert answers[-1] == {"state": "done", "runs": 1}


class Platform:
    """Modules as in Dify 1.9.2: the parts that runs call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entities: object = []
        self.ran: list[object] = []
        self.retried: list[tuple[str, list[str], str]] = []
        self.document = SimpleNamespace(dataset_id=str(uuid4()), created_by="ada", indexing_status="error")
        self.dataset: object = SimpleNamespace(tenant_id=TENANT)
        session = SimpleNamespace(get=self.get, expire_all=lambda: None)
        database = SimpleNamespace(engine="the engine", session=session)
        modules: dict[str, dict[str, object]] = {
            "extensions.ext_database": {"db": database},
            "services.file_service": {"FileService": self.files},
            "models.dataset": {"Dataset": "datasets", "Document": "documents"},
            "tasks.rag_pipeline.rag_pipeline_run_task": {"run_single_rag_pipeline_task": self.run},
            "tasks.retry_document_indexing_task": {"retry_document_indexing_task": self.retry},
        }
        for name, values in modules.items():
            module = ModuleType(name)
            vars(module).update(values)
            monkeypatch.setitem(sys.modules, name, module)

    def files(self, engine: str) -> object:
        assert engine == "the engine"
        return SimpleNamespace(get_file_content=self.content)

    def content(self, file_id: str) -> str:
        if file_id != FILE:
            raise NotFound
        return json.dumps(self.entities)

    def run(self, entity: object, app: Flask) -> None:
        assert app.name == "platform"
        self.ran.append(entity)

    def get(self, model: str, _id: str) -> object:
        return self.dataset if model == "datasets" else self.document

    def retry(self, dataset_id: str, document_ids: list[str], user_id: str) -> None:
        self.retried.append((dataset_id, document_ids, user_id))


def _platform_app(redis: "Redis") -> Flask:
    app = Flask("platform")
    init_app(app, cast("RedisClient", redis), key="key", pipelines=PlatformPipelines(app))
    return app


@pytest.mark.requirement(SECTION, f"{TOPIC}: the platform's own function runs each entity of the file")
def test_the_platform_runs_the_file(redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that lists a run of another tenant, and one that does not exist, are refused."""
    platform, app = Platform(monkeypatch), _platform_app(redis)
    platform.entities = [{"tenant_id": TENANT, "pipeline_id": str(number)} for number in range(3)]
    assert _answer(app, _request()) == {"state": "done", "runs": 3}
    assert sorted(cast("list[dict[str, str]]", platform.ran), key=lambda one: one["pipeline_id"]) == platform.entities
    platform.entities = [{"tenant_id": TENANT}, {"tenant_id": str(uuid4())}]
    assert _answer(app, _request())["state"] == "refused"
    assert str(_answer(app, _request(file_id=str(uuid4())))["reason"]).endswith("does not exist")
    assert len(platform.ran) == 3


@pytest.mark.requirement(SECTION, f"{TOPIC}: retries of pipeline documents call the platform's own task")
def test_the_platform_tries_documents_again(redis: "Redis", monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that ends as `error` is a failure. A deleted one is done. A foreign dataset is refused."""
    platform, app = Platform(monkeypatch), _platform_app(redis)
    dataset_id, document_id = platform.document.dataset_id, str(uuid4())
    body = _request(file_id=None, dataset_id=dataset_id, document_ids=[document_id])
    assert _answer(app, body) == {"state": "failed", "reason": "1 of 1 runs: RunFailedError"}
    platform.document.indexing_status = "completed"
    assert _answer(app, body) == {"state": "done", "runs": 1}
    assert platform.retried == [(dataset_id, [document_id], "ada")] * 2
    platform.dataset = SimpleNamespace(tenant_id=str(uuid4()))
    assert _answer(app, {**body, "event_id": str(uuid4())})["state"] == "refused"
    platform.dataset = None
    assert _answer(app, {**body, "event_id": str(uuid4())}) == {"state": "done", "runs": 0}
    assert len(platform.retried) == 2
