"""Runs the deletions of old data on a real database, step by step, with a fake billing service."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import text

from schemas import CollectionsDropped, Event
from schemas.maintenance.cleanup import CleanupRequested
from streams.agents.maintenance.retention import HANDLERS
from streams.agents.workspace.coordination_keys import forget_collections
from streams.delivery.handler import Handler
from streams.dify.accounts.billing import Billing, build_billing
from streams.dify.models import utc_now
from streams.dify.retention.periods import RetentionPeriods, build_periods
from streams.settings import Settings
from streams.testing import run
from tests.support.fakes.json_api import Asked, JsonApi, Reply, json_api
from tests.support.platform.handler_runs import Site, open_site

BY_EVENT: dict[type[Event], Handler[Any]] = {handler.event: handler for handler in HANDLERS}


@dataclass(frozen=True)
class Retention:
    """A tenant's site, the periods of the settings, and the billing service."""

    site: Site
    periods: RetentionPeriods
    billing: Billing
    results: list[dict[str, Any]] = field(default_factory=list)

    async def step(self, event: CleanupRequested) -> list[CleanupRequested]:
        """Run one step. Returns the events of the next steps. The keys of dropped collections follow at once."""
        services = [self.site.platform, self.periods, self.billing]
        done = await run(BY_EVENT[type(event)], event, engine=self.site.database.effects, services=services)
        assert isinstance(done.result, dict)
        self.results.append(done.result)
        following = [one.event for one in done.published]
        for one in following:
            assert isinstance(one, CleanupRequested | CollectionsDropped)
            if isinstance(one, CollectionsDropped):
                await run(forget_collections, one, engine=self.site.database.effects, services=services)
        return [one for one in following if isinstance(one, CleanupRequested)]

    async def run(self, event: CleanupRequested, steps: int = 100) -> dict[str, int]:
        """Run all steps of a run. Returns what they have removed."""
        before, waiting = len(self.results), [event]
        while waiting:
            assert len(self.results) - before < steps, f"the run does not end: {self.results[-3:]}"
            waiting += await self.step(waiting.pop(0))
        return self.total("removed", before)

    def total(self, part: str, first: int = 0) -> dict[str, int]:
        """Return the sums of the results from the given step on."""
        sums: dict[str, int] = {}
        for result in self.results[first:]:
            for name, count in result.get(part, {}).items():
                sums[name] = sums.get(name, 0) + count
        return sums

    def hurried(self) -> "Retention":
        """Return the same with steps that end after their first batch."""
        return replace(self, periods=replace(self.periods, step_seconds=0.0))

    def with_billing(self, url: str, seconds: float = 20) -> "Retention":
        """Return the same with a billing service."""
        return replace(self, billing=billing_at(url, seconds))

    async def sql(self, statement: str, **values: object) -> Sequence[Any]:
        """Execute a statement. Returns its rows, if it has any."""
        async with self.site.transaction() as session:
            done = await session.execute(text(statement), values)
            return done.all() if done.returns_rows else []  # type: ignore[attr-defined] # SQLAlchemy's type is too wide


def billing_at(url: str | None, seconds: float = 20) -> Billing:
    """Return the client of a billing service; None: there is none."""
    known = {"billing_url": url, "billing_key": "billing-key", "service_request_timeout": seconds}
    return build_billing(Settings.model_validate(known))


@asynccontextmanager
async def open_retention(settings: Settings, folder: Path) -> AsyncIterator[Retention]:
    """Create a tenant on the test's servers, without billing."""
    url = settings.database_url.get_secret_value()
    async with open_site(url, folder, redis_url=settings.redis_url) as site:
        yield Retention(site, build_periods(settings), billing_at(None))


@contextmanager
def billing_service(plans: dict[str, str]) -> Iterator[tuple[JsonApi, str]]:
    """Start a billing service that knows the plans of these tenants."""

    def answer(asked: Asked, _: int) -> Reply:
        (tenant_id,) = parse_qs(urlsplit(asked.path).query)["tenant_id"]
        if tenant_id not in plans:
            return Reply(404)
        return Reply(200, json.dumps({"enabled": True, "subscription": {"plan": plans[tenant_id]}}).encode())

    with json_api() as (server, url):
        server.answer = answer
        yield server, url


def days_ago(days: float) -> datetime:
    """Return a time as the platform's columns have it."""
    return utc_now() - timedelta(days=days)
