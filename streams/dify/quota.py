"""Charges messages to the quotas of their providers: computed as plain values, written by two statements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import CreditsMissingError

QuotaUnit = Literal["tokens", "credits", "times"]
UNLIMITED = -1
MAX_QUOTA = 2**63 - 1
"""The largest number of the column quota_used."""
MAX_AMOUNT = 2**31 - 1
"""The largest number of the platform's columns for the tokens of a message."""
LAST_USED_INTERVAL = 300.0
"""Seconds between two updates of a provider's last_used."""


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a provider by one message."""

    tenant_id: str
    names: tuple[str, ...]
    """The spellings of the provider in its rows, the short one first. The first one that has a row is charged."""
    quota_type: str | None
    amount: int | None
    """The amount to add to quota_used of the system provider's row with this quota type; None: nothing."""


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A locked row of the table `providers`."""

    id: str
    tenant_id: str
    name: str
    provider_type: str
    quota_type: str | None
    quota_limit: int | None
    quota_used: int | None
    stale: bool
    """True: last_used has to be updated."""


def charge_amount(unit: QuotaUnit | None, limit: int | None, tokens: int, credit: int | None) -> int | None:
    """Return the amount that one message adds to quota_used; None: not charged (no quota, or an unlimited one).

    Args:
        unit: what the quota counts.
        limit: the quota's limit.
        tokens: the tokens of question and answer.
        credit: the credits that the model costs.

    Raises:
        CreditsMissingError: the quota counts credits, and the message contains none.
    """
    if unit is None or limit == UNLIMITED:
        return None
    if unit == "tokens":
        return tokens
    if unit == "times":
        return 1
    if credit is None:
        message = "quota_unit is credits, but credits is missing"
        raise CreditsMissingError(message)
    return credit


def quota_after(limit: int | None, used: int | None, amounts: Iterable[int]) -> int | None:
    """Return quota_used after the amounts, in order. An amount counts in full if `limit > used` holds before it."""
    if limit is None or used is None:
        return used
    for added in amounts:
        if limit > used:
            used += added
    return min(used, MAX_QUOTA)


def charged_usages(usages: Iterable[Usage], rows: Iterable[ProviderRow]) -> list[tuple[Usage, str]]:
    """Return each usage that has a row to charge, with the name of that row.

    A provider may have rows under its short name and under its plugin's name. The platform charges the short one; the
    other one is charged only where no short one exists.
    """
    known = {(row.tenant_id, row.quota_type, row.name) for row in rows if row.provider_type == "system"}
    found = []
    for usage in usages:
        for name in usage.names:
            if (usage.tenant_id, usage.quota_type, name) in known:
                found.append((usage, name))
                break
    return found


def row_quota_after(row: ProviderRow, charged: Iterable[tuple[Usage, str]]) -> int | None:
    """Return the row's quota_used after the usages that are charged to their named rows, in order."""
    if row.provider_type != "system":
        return row.quota_used
    return quota_after(
        row.quota_limit,
        row.quota_used,
        (
            usage.amount
            for usage, name in charged
            if usage.amount is not None
            and usage.tenant_id == row.tenant_id
            and usage.quota_type == row.quota_type
            and row.name == name
        ),
    )


# All workers lock the rows in one order. Two workers with the same providers wait for each other and never deadlock.
_LOCK = text("""
select p.id::text, p.tenant_id::text, p.provider_name, p.provider_type, p.quota_type, p.quota_limit, p.quota_used,
       p.last_used is null or p.last_used < timezone('UTC', now()) - make_interval(secs => :every) as stale
from providers p
join unnest(cast(:tenants as uuid[]), cast(:names as text[])) as used (tenant_id, name)
  on p.tenant_id = used.tenant_id and p.provider_name = used.name
where p.provider_type = 'system'
   or p.last_used is null or p.last_used < timezone('UTC', now()) - make_interval(secs => :every)
order by p.tenant_id, p.provider_name, p.provider_type, p.quota_type, p.id
for update of p
""")
_WRITE = text("""
update providers p
set quota_used = new.quota_used,
    last_used = case when new.stale then timezone('UTC', now()) else p.last_used end
from unnest(cast(:ids as uuid[]), cast(:quotas as bigint[]), cast(:stale as boolean[])) as new (id, quota_used, stale)
where p.id = new.id
""")


async def record_usage(session: AsyncSession, usages: Sequence[Usage]) -> None:
    """Charge the usages in order, and record when each provider was last used.

    The result is the same as for one statement per usage: `update … set quota_used = quota_used + amount where
    quota_limit > quota_used`, for the row of its tenant, quota type and the first name that has one.
    """
    places = sorted({(usage.tenant_id, name) for usage in usages for name in usage.names})
    found = await session.execute(
        _LOCK,
        {
            "tenants": [tenant_id for tenant_id, _ in places],
            "names": [name for _, name in places],
            "every": LAST_USED_INTERVAL,
        },
    )
    rows = [ProviderRow(*row) for row in found]
    by_place: dict[tuple[str, str], list[tuple[Usage, str]]] = {}
    for usage, name in charged_usages(usages, rows):
        by_place.setdefault((usage.tenant_id, name), []).append((usage, name))
    outcomes = [(row, row_quota_after(row, by_place.get((row.tenant_id, row.name), ()))) for row in rows]
    changed = [(row, used) for row, used in outcomes if row.stale or used != row.quota_used]
    if changed:
        await session.execute(
            _WRITE,
            {
                "ids": [row.id for row, _ in changed],
                "quotas": [used for _, used in changed],
                "stale": [row.stale for row, _ in changed],
            },
        )
