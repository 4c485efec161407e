"""The checks of `streams doctor` decide on facts, without a server."""

import ast
from dataclasses import replace

import pytest
from confluent_kafka.admin import AclOperation

from streams.database.engines import REVISION
from streams.dify import models
from streams.dify.cleanup.leftovers import DATASET_TABLES
from streams.operations.doctor.database import check_pgvector, check_server, check_tables
from streams.operations.doctor.database_facts import ServerFacts, TableFacts
from streams.operations.doctor.finding import Finding
from streams.operations.doctor.kafka import check_topics, check_version
from streams.operations.doctor.kafka_rights import check_rights, needed_rights
from streams.operations.doctor.platform_tables import HIGH_TABLES, READS, WRITES, table_needs
from streams.operations.doctor.services import check_store
from streams.operations.topics.plan import desired_topics
from streams.settings import POOL_NAMES, PoolName, Settings
from streams.storage import StorageAwayError
from streams.topics import load_catalogue
from tests.support.pages import ROOT

GOOD = ServerFacts(
    version=180_001,
    version_text="18.1",
    time_zone="UTC",
    is_read_only=False,
    encoding="UTF8",
    may_create_temporary=True,
    may_create_tables=True,
    extensions=frozenset({"plpgsql", "vector"}),
    available_extensions=frozenset({"vector"}),
    is_pooled=False,
    revision=REVISION,
)


def bad(findings: list[Finding]) -> list[tuple[str, str, bool]]:
    """Return subject, state and whether a worker is stopped, of each finding that is not ok."""
    found = [finding for finding in findings if finding.state != "ok"]
    assert all(finding.remedy for finding in found)
    return [(finding.subject, finding.state, finding.stops_worker) for finding in found]


def test_a_good_server_has_no_problem() -> None:
    """Each check says ok, in one line."""
    findings = [*check_server(GOOD, "none"), *check_pgvector(GOOD)]
    assert bad(findings) == []
    assert all("\n" not in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"version": 140_010}, ("PostgreSQL version", "fail", True)),
        ({"version": 150_000}, None),
        ({"version": 190_000}, ("PostgreSQL version", "warning", False)),
        ({"encoding": "SQL_ASCII"}, ("database encoding", "fail", True)),
        ({"time_zone": "Europe/Berlin"}, ("database time zone", "warning", False)),
        ({"time_zone": "Etc/UTC"}, None),
        ({"is_read_only": True}, ("database writable", "fail", False)),
        ({"is_pooled": True}, ("connection pooler", "fail", True)),
        ({"may_create_temporary": False}, ("temporary tables", "warning", False)),
        ({"revision": None}, ("schema streams", "fail", True)),
        ({"revision": "0001"}, ("schema streams", "fail", True)),
        ({"revision": "9999"}, None),
    ],
    ids=str,
)
def test_each_fact_has_its_finding(changed: dict[str, object], expected: tuple[str, str, bool] | None) -> None:
    """A server that is read-only does not stop a worker: it waits."""
    assert bad(check_server(replace(GOOD, **changed), "none")) == ([expected] if expected else [])  # type: ignore[arg-type]


def test_a_pooler_is_as_the_setting_says() -> None:
    """The setting without a pooler is a warning."""
    assert bad(check_server(replace(GOOD, is_pooled=True), "transaction")) == []
    assert bad(check_server(GOOD, "transaction")) == [("connection pooler", "warning", False)]


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"extensions": frozenset()}, "create extension"),
        ({"extensions": frozenset(), "available_extensions": frozenset()}, "install"),
        ({"may_create_tables": False}, "grant create"),
    ],
)
def test_vectors_need_an_extension_and_tables(changed: dict[str, object], remedy: str) -> None:
    """The remedy depends on whether the server has pgvector."""
    (finding,) = check_pgvector(replace(GOOD, **changed))  # type: ignore[arg-type]
    assert (finding.state, finding.stops_worker) == ("fail", False)
    assert remedy in finding.remedy


def test_what_tables_lack_is_named() -> None:
    """A missing table or column stops a worker; a missing right fails, with a grant as its remedy."""
    needs = table_needs(POOL_NAMES)
    found = {need.name: TableFacts(need.columns, need.rights) for need in needs}
    assert bad(check_tables(needs, found)) == []
    found["documents"] = TableFacts(found["documents"].columns - {"word_count"}, found["documents"].rights)
    found["datasets"] = TableFacts(found["datasets"].columns, frozenset({"SELECT"}))
    del found["streams.outbox"]
    findings = check_tables(needs, found)
    texts = {finding.text: finding.stops_worker for finding in findings}
    assert texts == {
        "the role may not update rows of datasets": False,
        "documents has no column word_count": True,
        "there is no table streams.outbox": True,
    }
    assert {finding.remedy for finding in findings if "may not" in finding.text} == {"`grant update on datasets to …`"}


@pytest.mark.parametrize(("pool", "expected"), [("high", HIGH_TABLES), ("default", None), ("low", None)])
def test_a_worker_needs_the_tables_of_its_pools(pool: PoolName, expected: frozenset[str] | None) -> None:
    """A worker of the pool `high` runs on a database without documents."""
    names = {need.name for need in table_needs([pool]) if not need.is_ledger}
    assert names == (READS | set(WRITES) if expected is None else expected)


def test_every_table_that_the_handlers_code_names_is_asked_for() -> None:
    """The code imports the models that it uses."""
    named = {
        alias.name
        for folder in ("streams/dify", "streams/agents")
        for path in (ROOT / folder).rglob("*.py")
        if "models" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streams.dify.models")
        for alias in node.names
    }
    tables = {str(kind.__tablename__) for name, kind in vars(models).items() if name in named and is_table(kind)}
    assert len(tables) > 40
    assert tables - READS - set(WRITES) == set()


def is_table(kind: object) -> bool:
    return isinstance(kind, type) and hasattr(kind, "__tablename__")


def test_rights_are_asked_for_tables_that_exist() -> None:
    """A renamed model is noticed here, and so is a table that a clean-up may not delete from."""
    assert READS | set(WRITES) <= set(models.metadata.tables)
    assert READS.isdisjoint(WRITES)
    cleaned = {table.name for table in DATASET_TABLES if table.name in models.metadata.tables}
    assert [name for name in sorted(cleaned) if "DELETE" not in WRITES.get(name, ())] == []


@pytest.mark.parametrize(
    ("broker", "protocol", "expected"),
    [
        ({"inter.broker.protocol.version": "2.3-IV1"}, "cooperative", [("Kafka version", "fail", True)]),
        ({"inter.broker.protocol.version": "3.9-IV0"}, "cooperative", []),
        ({"inter.broker.protocol.version": "3.9-IV0"}, "consumer", [("group protocol", "fail", True)]),
        ({"group.consumer.session.timeout.ms": "1"}, "consumer", []),
        ({"group.coordinator.rebalance.protocols": "classic"}, "consumer", [("group protocol", "fail", True)]),
    ],
)
def test_the_version_is_told_from_the_configuration(
    broker: dict[str, str | None], protocol: str, expected: list[tuple[str, str, bool]]
) -> None:
    """Kafka 4 names no version; KIP-848 must be on offer where it is used."""
    assert bad(check_version(broker, protocol)) == expected


def test_topics_that_are_missing_or_differ() -> None:
    """One line for all that are missing. Too few or too many partitions have different remedies."""
    desired = desired_topics(load_catalogue(Settings()), Settings(), brokers=1)
    counts = {spec.name: spec.partitions for spec in desired}
    assert bad(check_topics(desired, counts, [])) == []
    assert bad(check_topics(desired, counts, ["retention differs; run it"])) == [("topics", "warning", False)]
    first = desired[0].name
    missing = check_topics(desired, {name: count for name, count in counts.items() if name != first}, ["x"])
    assert [finding.text for finding in missing] == [f"1 of {len(desired)} are missing, such as {first}"]
    event = next(spec for spec in desired if not spec.derived and spec.partitions > 1)
    few, many = (check_topics(desired, {**counts, event.name: count}, []) for count in (1, 99))
    assert "apply" in few[0].remedy
    assert "declare" in many[0].remedy


class BrokenStore:
    """A storage that fails, or that loses what is written."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def write(self, _key: str, _content: bytes) -> None:
        """Fail, or do nothing."""
        if self._error:
            raise self._error

    def read(self, _key: str) -> bytes:
        """Return something else."""
        return b"something else"

    def delete(self, _key: str) -> None:
        """Do nothing."""


@pytest.mark.parametrize("error", [StorageAwayError("full"), PermissionError("denied"), None])
def test_a_storage_that_does_not_work(error: Exception | None) -> None:
    """Any error is a finding, and so is a file that differs."""
    assert bad([check_store(BrokenStore(error))]) == [("storage", "fail", False)]  # type: ignore[arg-type]


@pytest.mark.requirement("Faults of others", "doctor: a right on a Kafka topic that a worker lacks is named")
def test_missing_rights_are_one_line() -> None:
    """A topic whose rights the brokers do not report is left out; `ALL` covers each operation."""
    catalogue = load_catalogue(Settings())
    needed = needed_rights(catalogue)
    every = {topic: [AclOperation.ALL] for topic in needed}
    (whole,) = check_rights(needed, every)
    assert whole.state == "ok"
    lacking = {**every, "document.deleted": [AclOperation.READ], "streams.low.retry.0s": [AclOperation.DESCRIBE]}
    (finding,) = check_rights(needed, lacking)
    assert (finding.state, finding.text) == ("fail", "it lacks WRITE on document.deleted, and 2 more")
    assert check_rights(needed, {}) == []
