"""Selects the tenants whose daily check of plugins is due, and marks them as checked.

The tenants are walked by the unique index on their id, in pages. The column of the time of the day has no index.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.database.monitoring_tables import plugin_checks
from streams.dify.models import TenantPluginAutoUpgradeStrategy as Strategy

PAGE = 200
"""Tenants that are read, and marked, by one statement."""
FIRST_PERIOD = timedelta(minutes=15)
"""How far the first run looks back: the interval of the schedule."""
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Period:
    """The times of one run."""

    since: datetime
    """When the period of the run before ended."""
    until: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Some tenants in the order of their ids."""

    due: list[Strategy]
    """Those that are marked now."""
    last: str | None
    """The last tenant of the page; None: there is none after it."""


NEXT_PERIOD = text(
    """
    select clock_timestamp() as until, (select checked_until from streams.plugin_check_runs where id = 1) as since
    """
)
END_PERIOD = text(
    """
    insert into streams.plugin_check_runs as r (id, checked_until) values (1, :until)
    on conflict (id) do update set checked_until = greatest(r.checked_until, excluded.checked_until)
    """
)


def latest_time(seconds_of_day: int, until: datetime) -> datetime:
    """Return the last time at or before `until` that is this time of the day.

    Args:
        seconds_of_day: Seconds of the UTC day. Other values count modulo a day, so that each tenant has a time.
        until: The end of the period.
    """
    moment = until.astimezone(UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    today = midnight + timedelta(seconds=seconds_of_day % _DAY)
    return today if today <= moment else today - timedelta(days=1)


def is_due(seconds_of_day: int, checked_day: date | None, period: Period) -> bool:
    """Return whether a tenant's check is due.

    A tenant that was checked before is due once its time of a later day has come, however late the run is. Of several
    missed days, only the last one is made up for. So no tenant is checked twice for one day, also if its time changes.

    A tenant that was never checked is due if its time has come since the run before. So the first run does not check
    all tenants whose time was earlier that day; their turn is the next day. The same holds for a tenant that switches
    the upgrades on after its time.

    Args:
        seconds_of_day: The tenant's time of the day.
        checked_day: The day of the last time that was checked; None: never.
        period: The times of the run.
    """
    latest = latest_time(seconds_of_day, period.until)
    if checked_day is None:
        return latest > period.since
    return latest.date() > checked_day


async def next_period(session: AsyncSession) -> Period:
    """Return the period of a run that begins now. It follows the period of the last run that has ended."""
    row = (await session.execute(NEXT_PERIOD)).one()
    return Period(row.since or row.until - FIRST_PERIOD, row.until)


async def end_period(session: AsyncSession, period: Period) -> None:
    """Record that every tenant of the period was checked. An older run changes nothing."""
    await session.execute(END_PERIOD, {"until": period.until})


async def take_due_tenants(session: AsyncSession, period: Period, cursor: str | None) -> Page:
    """Mark the due tenants of the next page, and return them. Two runs at the same time mark each tenant once.

    Args:
        session: A transaction. The marks are committed with what is published for them.
        period: The times of the run.
        cursor: The last tenant of the page before; None: the first page.
    """
    marks = plugin_checks.c
    query = (
        select(Strategy, marks.day)
        .outerjoin(plugin_checks, marks.tenant_id == Strategy.tenant_id)
        .order_by(Strategy.tenant_id)
        .limit(PAGE)
    )
    if cursor is not None:
        query = query.where(Strategy.tenant_id > cursor)
    rows = (await session.execute(query)).all()
    due = [
        strategy
        for strategy, day in rows
        if strategy.strategy_setting != "disabled" and is_due(strategy.upgrade_time_of_day, day, period)
    ]
    marked = await _mark(session, due, period)
    last = rows[-1][0].tenant_id if len(rows) == PAGE else None
    return Page([strategy for strategy in due if strategy.tenant_id in marked], last)


async def _mark(session: AsyncSession, due: list[Strategy], period: Period) -> set[str]:
    """Mark tenants, and return those that another run has not marked for the same day."""
    if not due:
        return set()
    marks = insert(plugin_checks).values(
        [{"tenant_id": one.tenant_id, "day": latest_time(one.upgrade_time_of_day, period.until).date()} for one in due]
    )
    new = marks.on_conflict_do_update(
        index_elements=[plugin_checks.c.tenant_id],
        set_={"day": marks.excluded.day, "checked_at": text("clock_timestamp()")},
        where=plugin_checks.c.day < marks.excluded.day,
    ).returning(plugin_checks.c.tenant_id)
    return set(await session.scalars(new))
