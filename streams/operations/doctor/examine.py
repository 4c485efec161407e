"""Runs all checks of a deployment, and those that decide whether a worker may start."""

from collections.abc import Collection

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from streams.database import sync_engine
from streams.database.engines import unavailable
from streams.observability.error_text import message
from streams.operations.doctor.contents import examine_contents
from streams.operations.doctor.database import check_pgvector, check_server, check_tables
from streams.operations.doctor.database_facts import read_server, read_tables
from streams.operations.doctor.endpoints import examine_endpoints
from streams.operations.doctor.finding import Finding
from streams.operations.doctor.kafka import examine_kafka
from streams.operations.doctor.mail import examine_alerts, examine_mail
from streams.operations.doctor.platform_tables import table_needs
from streams.operations.doctor.services import examine_celery, examine_redis, examine_storage
from streams.operations.doctor.vector_stores import examine_vector_store
from streams.settings import PoolName, Settings
from streams.topics import Catalogue


def examine(settings: Settings, catalogue: Catalogue) -> list[Finding]:
    """Check everything that a deployment needs. A server that does not answer is a finding, not an error.

    Raises SettingsError for an invalid setting.
    """
    return [
        *_examine_database(settings),
        *examine_vector_store(settings),
        *examine_kafka(settings, catalogue),
        examine_storage(settings),
        examine_redis(settings),
        *examine_endpoints(settings, catalogue),
        examine_mail(settings),
        *examine_alerts(settings),
        *examine_contents(settings),
        *examine_celery(settings),
    ]


def database_start_problems(settings: Settings, pools: Collection[PoolName]) -> list[str]:
    """Return why a worker of these pools must not start, one line each.

    Only what no delivery can do without counts: the server's version and encoding, the schema `streams`, tables and
    columns. An outage, or a server that is read-only, is waited for.

    Raises:
        SQLAlchemyError: The database does not answer.
    """
    findings = _check_database(settings, pools, vectors=False)
    return [f"{finding.text}: {finding.remedy}" for finding in findings if finding.stops_worker]


def _examine_database(settings: Settings) -> list[Finding]:
    try:
        beside = settings.pgvector_url is not None
        return _check_database(settings, settings.pools, vectors=settings.vector_store == "pgvector" and not beside)
    except OperationalError as error:
        remedy = "start PostgreSQL, or correct the setting"
        return [Finding("PostgreSQL", "fail", str(unavailable(settings, error)), remedy, stops_worker=True)]
    except SQLAlchemyError as error:
        remedy = "grant the role the right to read the catalogue and the schema streams"
        return [Finding("PostgreSQL", "fail", message(error), remedy)]


def _check_database(settings: Settings, pools: Collection[PoolName], *, vectors: bool) -> list[Finding]:
    engine = sync_engine(settings)
    try:
        with engine.connect() as connection:
            facts = read_server(connection)
            needs = [need for need in table_needs(pools) if facts.revision is not None or not need.is_ledger]
            found = read_tables(connection, needs)
    finally:
        engine.dispose()
    return [
        *check_server(facts, settings.database_pooler),
        *check_tables(needs, found),
        *(check_pgvector(facts) if vectors else []),
    ]
