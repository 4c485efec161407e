"""TiDB serverless clusters on a fake service: batches, states, and every kind of failure."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from schemas import Event, TidbClustersRequested, TidbStatusRequested
from streams.agents.maintenance import tidb_clusters
from streams.agents.maintenance.tidb_clusters import activate_tidb_clusters, create_tidb_clusters
from streams.delivery import Permanent, Retry, Unavailable
from streams.dify.errors import ServiceError
from streams.dify.models import TidbAuthBinding
from streams.dify.tidb.client import build_tidb
from streams.settings import Settings
from streams.testing import run
from tests.support.fakes.json_api import GARBAGE, NOTHING, Asked, JsonApi, Reply, json_api

SECTION = "Schedules"
CHALLENGE = Reply(401, b"{}", {"WWW-Authenticate": 'Digest realm="tidb", nonce="abc", qop="auth", algorithm=MD5'})


@dataclass
class Cloud:
    """The service and the platform's rows."""

    engine: AsyncEngine
    url: str
    states: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Cluster → state and prefix."""
    requests: list[Asked] = field(default_factory=list)
    """The signed ones."""
    failure: Reply | None = None
    dropped: int = 0
    """How many clusters of a batch the answer leaves out."""
    following: list[Event] = field(default_factory=list)

    def answer(self, asked: Asked, _before: int) -> Reply:
        if not asked.headers.get("authorization", "").startswith('Digest username="public"'):
            return CHALLENGE
        self.requests.append(asked)
        if self.failure is not None:
            return self.failure
        if asked.path == "/v1/clusters:batchCreate":
            return self._create(asked)
        ids = parse_qs(urlsplit(asked.path).query)["clusterIds"]
        found = [(id_, *self.states[id_]) for id_ in ids if id_ in self.states]
        shown = [{"clusterId": id_, "state": state, "userPrefix": prefix} for id_, state, prefix in found]
        return Reply(200, json.dumps({"clusters": shown}).encode())

    def _create(self, asked: Asked) -> Reply:
        wanted = asked.body["requests"]
        assert isinstance(wanted, list)
        names = [one["cluster"]["displayName"] for one in wanted][self.dropped :]
        created = [{"clusterId": f"id-{name}", "displayName": name} for name in names]
        return Reply(200, json.dumps({"clusters": created}).encode())

    async def run(self, event: TidbClustersRequested | TidbStatusRequested, **more: object) -> object:
        known = {
            "tidb_api_url": f"{self.url}/v1/",
            "tidb_public_key": "public",
            "tidb_private_key": "private",
            "tidb_project_id": "p1",
            "tidb_free_clusters": 45,
            "service_request_timeout": 2,
        }
        services = [build_tidb(Settings.model_validate({**known, **more}))]
        if isinstance(event, TidbClustersRequested):
            done = await run(create_tidb_clusters, event, engine=self.engine, services=services)
        else:
            done = await run(activate_tidb_clusters, event, engine=self.engine, services=services)
        self.following = [one.event for one in done.published]
        return done.result

    async def bindings(self) -> list[TidbAuthBinding]:
        async with AsyncSession(self.engine) as session:
            return list(await session.scalars(select(TidbAuthBinding).order_by(TidbAuthBinding.id)))

    async def add(self, count: int, **columns: object) -> list[str]:
        """Add clusters. Returns their ids at the service."""
        ids = [f"c-{uuid4()}" for _ in range(count)]
        async with AsyncSession(self.engine) as session, session.begin():
            for id_ in ids:
                known: dict[str, object] = {"cluster_id": id_, "cluster_name": id_, "account": "root", "password": "x"}
                session.add(TidbAuthBinding(**known | columns))
        return ids


@pytest.fixture
def server() -> Iterator[tuple[JsonApi, str]]:
    with json_api() as opened:
        yield opened


@pytest.fixture
async def cloud(database_url: str, server: tuple[JsonApi, str]) -> AsyncIterator[Cloud]:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    made = Cloud(engine, server[1])
    server[0].answer = made.answer
    yield made
    await engine.dispose()


@pytest.mark.requirement(SECTION, "tidb-serverless-create: batches of 20 until enough clusters are free")
async def test_batches_until_enough_are_free(cloud: Cloud) -> None:
    """Clusters of tenants do not count. Each step is one batch, and publishes the next one."""
    await cloud.add(3, active=True)
    await cloud.add(1, status="ACTIVE")
    event, results = TidbClustersRequested(), []
    while True:
        results.append(await cloud.run(event))
        if not cloud.following:
            break
        [event] = cloud.following  # type: ignore[assignment]  # a step of the same run
    assert results == [
        {"done": False, "created": 20},
        {"done": False, "created": 20},
        {"done": True, "created": 4},
    ]
    assert await cloud.run(TidbClustersRequested()) == {"done": True, "created": 0}
    asked = cloud.requests[0].body["requests"]
    assert isinstance(asked, list)
    sent = {one["cluster"]["displayName"]: one["cluster"] for one in asked}
    rows = {row.cluster_name: row for row in await cloud.bindings()}
    for name, cluster in sent.items():
        row = rows[name]
        assert (row.cluster_id, row.password) == (f"id-{name}", cluster["rootPassword"])
        assert (row.tenant_id, row.account, row.active, row.status) == (None, "root", False, "CREATING")
        assert len(name) == 32
        assert len(cluster["rootPassword"]) == 16
        assert cluster["region"] == {"name": "regions/aws-us-east-1"}
        assert cluster["labels"] == {"tidb.cloud/project": "p1"}
        assert cluster["spendingLimit"] == {"monthly": 100}
    assert len({row.password for row in rows.values()}) == 44 + 1


FAILURES: list[tuple[Reply, type[Exception], type[Exception]]] = [
    (Reply(500, b"rootPassword"), ServiceError, Unavailable),
    (GARBAGE, ServiceError, Unavailable),
    (NOTHING, ServiceError, Unavailable),
    (Reply(200, b"<html>"), ServiceError, ServiceError),
    (Reply(200, b'{"clusters": {}}'), ServiceError, ServiceError),
    (Reply(429, b"{}", {"Retry-After": "9"}), Retry, Retry),
    (Reply(401), ServiceError, ServiceError),
    (Reply(400), Permanent, Permanent),
]
"""An answer, the error of a creation, and the error of a question for states."""


@pytest.mark.requirement(SECTION, "tidb-serverless-create: an error ends the run and is retried, it never spins")
@pytest.mark.parametrize(("reply", "expected", "_other"), FAILURES)
async def test_a_creation_that_fails(
    cloud: Cloud, reply: Reply, expected: type[Exception], _other: type[Exception]
) -> None:
    """One request for an attempt, no row, and no further step. Today an error in the loop repeats it at once."""
    cloud.failure = reply
    with pytest.raises(expected) as raised:
        await cloud.run(TidbClustersRequested())
    assert "rootPassword" not in str(raised.value)
    assert (len(cloud.requests), await cloud.bindings()) == (1, [])
    cloud.failure = None
    assert await cloud.run(TidbClustersRequested()) == {"done": False, "created": 20}


async def test_a_batch_that_is_answered_in_part(cloud: Cloud) -> None:
    """What is confirmed is kept. A batch of which nothing is confirmed fails, so a run has an end."""
    cloud.dropped = 5
    assert await cloud.run(TidbClustersRequested()) == {"done": False, "created": 15}
    cloud.dropped = 20
    with pytest.raises(ServiceError, match="confirmed none"):
        await cloud.run(TidbClustersRequested())
    assert len(await cloud.bindings()) == 15


async def test_two_runs_at_once_create_one_batch(cloud: Cloud) -> None:
    results = await asyncio.gather(*(cloud.run(TidbClustersRequested(), tidb_free_clusters=10) for _ in range(3)))
    assert len(await cloud.bindings()) == 10
    assert sum(one["created"] for one in results if isinstance(one, dict)) == 10


@pytest.mark.requirement(SECTION, "tidb-serverless-status: clusters that are active can be used, with their account")
async def test_clusters_become_active(cloud: Cloud) -> None:
    """Chunks of 20. One without a prefix waits, and clusters that are not being created are not asked for."""
    ids = await cloud.add(45)
    [other], [used] = await cloud.add(1, status="ACTIVE", account="a.root"), await cloud.add(1, active=True)
    cloud.states = {id_: ("ACTIVE", f"p{number}") for number, id_ in enumerate(ids)}
    cloud.states |= {ids[0]: ("CREATING", ""), ids[1]: ("ACTIVE", ""), other: ("ACTIVE", "x"), used: ("ACTIVE", "x")}
    assert await cloud.run(TidbStatusRequested()) == {"done": True, "checked": 45, "activated": 43}
    rows = {row.cluster_id: (row.status, row.account) for row in await cloud.bindings()}
    assert rows[ids[0]] == rows[ids[1]] == rows[used] == ("CREATING", "root")
    assert rows[ids[2]] == ("ACTIVE", "p2.root")
    assert rows[other] == ("ACTIVE", "a.root")
    assert len(cloud.requests) == 3
    cloud.states[ids[0]] = ("ACTIVE", "late")
    assert await cloud.run(TidbStatusRequested()) == {"done": True, "checked": 2, "activated": 1}


@pytest.mark.requirement(SECTION, "tidb-serverless-status: many clusters are asked for in steps with a cursor")
async def test_steps(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters that stay unknown do not stop the run: the cursor passes them."""
    monkeypatch.setattr(tidb_clusters, "STEP_SECONDS", 0.0)
    await cloud.add(45)
    event, steps = TidbStatusRequested(), 0
    while True:
        result, steps = await cloud.run(event), steps + 1
        assert isinstance(result, dict)
        if result["done"]:
            break
        [event] = cloud.following  # type: ignore[assignment]  # a step of the same run
    assert steps == 4
    asked = [parse_qs(urlsplit(one.path).query)["clusterIds"] for one in cloud.requests]
    assert [len(ids) for ids in asked] == [20, 20, 5]
    assert len({id_ for ids in asked for id_ in ids}) == 45


@pytest.mark.parametrize(("reply", "_other", "expected"), FAILURES)
async def test_a_question_that_fails(
    cloud: Cloud, reply: Reply, _other: type[Exception], expected: type[Exception]
) -> None:
    await cloud.add(1)
    cloud.failure = reply
    with pytest.raises(expected):
        await cloud.run(TidbStatusRequested())
    assert [row.status for row in await cloud.bindings()] == ["CREATING"]


@pytest.mark.parametrize("event", [TidbClustersRequested(), TidbStatusRequested()])
async def test_a_deployment_without_tidb_says_so(
    cloud: Cloud, event: TidbClustersRequested | TidbStatusRequested
) -> None:
    with pytest.raises(Permanent, match="STREAMS_TIDB_API_URL"):
        await cloud.run(event, tidb_api_url=None)
    assert cloud.requests == []
