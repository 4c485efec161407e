"""TiDB Cloud's API for serverless clusters, as the platform uses it. Requests are signed by HTTP digest.

The setting of the IAM's URL is not used: the platform passes it on, and no request goes there.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from json import loads
from uuid import uuid4

import httpx
from pydantic import SecretStr

from streams.dify.errors import RefusedError, ServiceError, TidbAwayError
from streams.dify.http import Answer, JSONObject, Service, Timeouts, as_object, send
from streams.observability.logs import get_logger
from streams.settings import Settings

log = get_logger(__name__)
NAME = "TiDB Cloud"
BATCH = 20
"""Clusters in one request, as on the platform."""
PASSWORD_BYTES = 8
ACTIVE = "ACTIVE"
_OF_THE_SETTINGS = frozenset({401, 403})
"""The keys are rejected, which an operator can correct."""


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A cluster that is being created."""

    cluster_id: str
    name: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ActiveCluster:
    """A cluster that can be used."""

    cluster_id: str
    account: str


@dataclass(frozen=True, slots=True)
class Tidb:
    """The clusters of one project. Handlers get it by `work.use(Tidb)`."""

    url: str | None
    """None: not configured."""
    project_id: str
    region: str
    spend_limit: int
    """Monthly, of each cluster."""
    free_clusters: int
    """How many free clusters are kept."""
    public_key: str
    private_key: SecretStr
    timeouts: Timeouts

    async def create(self, count: int) -> list[NewCluster]:
        """Ask for new clusters, at most `BATCH`. Returns those that the answer names, which may be fewer.

        The request is not idempotent. If its answer is lost, clusters exist that no row names; their names are logged
        before the request.

        Raises:
            BusyError: The service asks for a pause; it has created nothing.
            TidbAwayError: It does not answer, or answers with a server error.
            ServiceError: It rejects the keys, or its answer is not one.
            RefusedError: It rejects the request.
        """
        passwords = {uuid4().hex: secrets.token_hex(PASSWORD_BYTES) for _ in range(min(count, BATCH))}
        log.info("TiDB clusters are requested", names=list(passwords))
        requests = [{"cluster": self._cluster(name, password)} for name, password in passwords.items()]
        answer = await self._send("POST", "clusters:batchCreate", json={"requests": requests})
        created = []
        for one in _clusters(answer):
            cluster_id, name = one.get("clusterId"), one.get("displayName")
            if isinstance(cluster_id, str) and cluster_id and isinstance(name, str) and name in passwords:
                created.append(NewCluster(cluster_id, name, passwords[name]))
        return created

    async def active(self, cluster_ids: Sequence[str]) -> list[ActiveCluster]:
        """Return those of the clusters that are active and have the prefix of their accounts. Raises as `create`."""
        answer = await self._send("GET", "clusters:batchGet", params={"clusterIds": cluster_ids, "view": "BASIC"})
        found = []
        for one in _clusters(answer):
            cluster_id, prefix = one.get("clusterId"), one.get("userPrefix")
            if one.get("state") == ACTIVE and isinstance(prefix, str) and prefix and isinstance(cluster_id, str):
                found.append(ActiveCluster(cluster_id, f"{prefix}.root"))
        return found

    def _cluster(self, name: str, password: str) -> JSONObject:
        return {
            "displayName": name,
            "region": {"name": self.region},
            "labels": {"tidb.cloud/project": self.project_id},
            "spendingLimit": {"monthly": self.spend_limit},
            "rootPassword": password,
        }

    async def _send(
        self, method: str, path: str, *, params: dict[str, str | Sequence[str]] | None = None, json: object = None
    ) -> Answer:
        auth = httpx.DigestAuth(self.public_key, self.private_key.get_secret_value())
        # An answer to the creation may repeat the passwords.
        service = Service(NAME, {}, self.timeouts, private=True, auth=auth)
        answer = await send(service, method, f"{self.url}/{path}", away=TidbAwayError, params=params, json=json)
        if answer.is_success:
            return answer
        message = f"{NAME} rejects the request: {answer.status}"
        raise (ServiceError if answer.status in _OF_THE_SETTINGS else RefusedError)(message)


def _clusters(answer: Answer) -> list[JSONObject]:
    """Return the clusters of an answer. Raises ServiceError if it has no list of them."""
    try:
        found: object = loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    clusters = as_object(found).get("clusters")
    if not isinstance(clusters, list):
        message = f"{NAME} answers {answer.status} without a list of clusters"
        raise ServiceError(message)
    return [as_object(one) for one in clusters]


def build_tidb(settings: Settings) -> Tidb:
    """Create the client of the settings. No connection is opened."""
    return Tidb(
        url=None if settings.tidb_api_url is None else settings.tidb_api_url.rstrip("/"),
        project_id=settings.tidb_project_id or "",
        region=settings.tidb_region,
        spend_limit=settings.tidb_spend_limit,
        free_clusters=settings.tidb_free_clusters,
        public_key=settings.tidb_public_key or "",
        private_key=settings.tidb_private_key or SecretStr(""),
        timeouts=Timeouts(settings.service_connect_timeout, settings.service_request_timeout),
    )
