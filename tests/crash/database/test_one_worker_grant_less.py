"""The rights of a worker in `deploy/sql` are enough, and each is needed.

In the schema `streams`: PostgreSQL plans every statement of the code with the worker's rights, and it refuses one of
them when a right is missing. Of the platform's tables: `streams doctor` names the right that is missing.
"""

import asyncio
import importlib
import pkgutil
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, TextClause
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

import streams
from schemas import AppCreated
from streams.database import Database
from streams.database.engines import check_migrated
from streams.database.migrations import upgrade
from streams.dify.document_lock import IndexingRun
from streams.dify.indexing.answer_cache import delete_answers, load_answers, store_answers
from streams.dify.models import TenantPluginAutoUpgradeStrategy
from streams.dify.plugins.due_checks import Period, take_due_tenants
from streams.dify.qa.chat import Pair
from streams.operations.alerts.alert import Alert, Checked
from streams.operations.alerts.alert_rows import update_alerts
from streams.operations.alerts.webhook import build_webhook, send_notices, write_notices
from streams.operations.doctor.database import check_tables
from streams.operations.doctor.database_facts import read_tables
from streams.operations.doctor.platform_tables import table_needs
from streams.operations.pauses import pause, read_pauses, resume
from streams.publishing import Outbox
from streams.settings import POOL_NAMES
from tests.integration.conftest import own_environment, settings_in
from tests.support.fakes.json_api import json_api
from tests.support.local_stack.sql_roles import SQL, Roles, sql_roles
from tests.support.local_stack.stack import Stack
from tests.support.platform.handler_runs import Site, open_site

SECTION = "Faults of others"
WORKER = "streams_worker"
DENIED = "permission denied"
# No statement of a worker or of a command of an operator is in these.
WITHOUT = ("streams.database.migrations", "streams.local", "streams.bootstrap", "streams.__main__")
Use = Callable[["Place"], None]
"""Executes one statement as the worker. Nothing of it is committed."""


@dataclass(frozen=True)
class Place:
    """A migrated database with the roles, their rights, and one document."""

    roles: Roles
    environment: dict[str, str]
    site: Site
    run: IndexingRun

    @contextmanager
    def connection(self, role: str = WORKER) -> Iterator[Connection]:
        """Connect as a role, in a transaction that is rolled back."""
        with self.roles.engine(role).connect() as connection:
            yield connection

    def session(self, work: Callable[[AsyncSession], Awaitable[object]]) -> None:
        """Do something in a transaction of the worker that is rolled back."""

        async def in_session() -> None:
            database = Database(settings_in({**self.environment, "STREAMS_DATABASE_URL": self.roles.url(WORKER)}))
            try:
                async with AsyncSession(database.effects) as session:
                    await work(session)
            finally:
                await database.dispose()

        asyncio.run(in_session())


def statements() -> dict[str, str]:
    """Return the texts of SQL about the schema, by the places of their constants."""
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(streams.__path__, "streams."):
        if module.name.startswith(WITHOUT):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            for part, statement in enumerate(_parts(value)):
                if isinstance(statement, TextClause) and "streams." in statement.text:
                    found.setdefault(statement.text, f"{module.name}.{name}[{part}]")
    return {place: statement for statement, place in found.items()}


def _parts(value: object) -> Collection[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, tuple | list) else [value]


def planned(statement: str) -> Use:
    """Return what lets PostgreSQL plan a statement without values. It checks the rights as for an execution."""
    numbers: dict[str, str] = {}
    # As SQLAlchemy reads it: `:name` is a value, `\:` a colon. The driver reads `%%` as a percent sign.
    numbered = re.sub(
        r"(?<![:\\\w]):(\w+)", lambda found: numbers.setdefault(found[1], f"${len(numbers) + 1}"), statement
    )
    numbered = numbered.replace("\\:", ":").replace("%", "%%")

    def plan(place: Place) -> None:
        with place.connection() as connection:
            connection.exec_driver_sql(f"explain (generic_plan) {numbered}")

    return plan


def read_marker(place: Place) -> None:
    with place.connection() as connection:
        check_migrated(connection)


def pauses(place: Place) -> None:
    with place.connection() as connection:
        pause(connection, "topic", "t", by="a test")
        assert read_pauses(connection)
        assert resume(connection, "topic", "t")


def publish(place: Place) -> None:
    async def work(session: AsyncSession) -> None:
        Outbox(session, place.site.codec).publish(AppCreated(app_id="a"))
        await session.flush()

    place.session(work)


def answers(place: Place) -> None:
    async def work(session: AsyncSession) -> None:
        await store_answers(session, place.run, {"key": (Pair("Why?", "So."),)})
        assert await load_answers(session, place.run)
        await delete_answers(session, place.run.document_id)

    place.session(work)


def alerts(place: Place) -> None:
    async def work(session: AsyncSession) -> None:
        await update_alerts(session, Checked(["lag"], [Alert("lag", "t", "late")]))

    place.session(work)


def notices(place: Place) -> None:
    with json_api() as (_, url):
        webhook = build_webhook(settings_in({**place.environment, "STREAMS_ALERT_WEBHOOK_URL": url}))
        assert webhook is not None

        async def work(session: AsyncSession) -> None:
            await write_notices(session, [{"name": "n"}])
            assert await send_notices(session, webhook) == (1, False)

        place.session(work)


def plugin_checks(place: Place) -> None:
    until = datetime.now(tz=UTC)

    async def work(session: AsyncSession) -> None:
        page = await take_due_tenants(session, Period(until - timedelta(days=1), until), None)
        assert page.due

    place.session(work)


BUILT: dict[str, Use] = {
    use.__name__: use for use in (read_marker, pauses, publish, answers, alerts, notices, plugin_checks)
}
"""What executes statements that SQLAlchemy builds."""


def granted(file: str) -> list[tuple[str, str]]:
    """Return the worker's single rights of a file, each with its object in the words of SQL."""
    sql = re.sub(r"--.*", "", (SQL / file).read_text())
    found = re.findall(rf"grant ([^;]+?)\s+on\s+([^;]+?)\s+to ([^;]*?\b{WORKER}\b[^;]*);", sql)
    return [
        (right, place.strip())
        for rights, places, _ in found
        for place in re.split(r",(?![^(]*\))", places)
        for right in rights.split(", ")
    ]


@pytest.fixture(scope="module")
def place(stack: Stack, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("grants")
    with own_environment(stack, template, folder, 1) as environment:
        url = environment["STREAMS_DATABASE_URL"]
        with sql_roles(stack, str(make_url(url).database)) as roles:
            upgrade(settings_in({**environment, "STREAMS_DATABASE_URL": roles.url("streams_owner")}))
            roles.run_file("grants.sql", "streams_owner")

            async def rows() -> tuple[Site, IndexingRun]:
                async with open_site(url, folder / "files") as site:
                    started = datetime.now(tz=UTC).replace(tzinfo=None)
                    document = await site.add_document(
                        await site.add_dataset(), b"text", indexing_status="splitting", processing_started_at=started
                    )
                    await site.add(
                        TenantPluginAutoUpgradeStrategy(
                            tenant_id=site.tenant_id, upgrade_time_of_day=0, exclude_plugins=[], include_plugins=[]
                        )
                    )
                    return site, IndexingRun(site.tenant_id, document.dataset_id, document.id, started)

            site, run = asyncio.run(rows())
            yield Place(roles, environment, site, run)


@pytest.fixture(scope="module")
def uses() -> dict[str, Use]:
    """Return all that a worker and operators' commands execute in the schema."""
    return {**{name: planned(statement) for name, statement in statements().items()}, **BUILT}


def denied(place: Place, uses: Mapping[str, Use]) -> Iterator[str]:
    """Yield what the worker may not do."""
    for name, use in uses.items():
        try:
            use(place)
        except ProgrammingError as error:
            if DENIED not in str(error):
                raise
            yield name


def test_the_rights_are_enough_for_every_statement(place: Place, uses: dict[str, Use]) -> None:
    assert len(uses) > 60
    assert list(denied(place, uses)) == []


@pytest.mark.requirement(SECTION, "one SQL right of a worker less, and one of its statements is refused")
@pytest.mark.parametrize("right", granted("grants.sql"), ids="-".join)
def test_one_right_less_stops_a_statement(right: tuple[str, str], place: Place, uses: dict[str, Use]) -> None:
    what, where = right
    place.roles.execute(f"revoke {what} on {where} from {WORKER}", "streams_owner")
    try:
        assert next(denied(place, uses), None)
    finally:
        place.roles.execute(f"grant {what} on {where} to {WORKER}", "streams_owner")


@pytest.mark.requirement(SECTION, "the doctor names the one SQL right on a platform's table that a worker lacks")
def test_the_doctor_names_each_right_on_the_platform_s_tables(place: Place) -> None:
    """The rights of the file are those that the doctor asks for, neither more nor less."""
    needs = table_needs(POOL_NAMES)
    wanted = {(right.lower(), need.name) for need in needs if not need.is_ledger for right in need.rights}
    schema = {("usage", "schema public"), ("create", "schema public")}
    assert set(granted("roles.sql")) == wanted | schema
    for right, table in sorted(wanted):
        place.roles.execute(f"revoke {right} on {table} from {WORKER}")
        with place.connection() as connection:
            findings = check_tables(needs, read_tables(connection, needs))
        place.roles.execute(f"grant {right} on {table} to {WORKER}")
        assert f"the role may not {right} rows of {table}" in [finding.text for finding in findings]
    with place.connection() as connection:
        assert {finding.state for finding in check_tables(needs, read_tables(connection, needs))} == {"ok"}
