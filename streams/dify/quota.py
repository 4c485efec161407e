"""What messages cost their providers' quotas: decided as values, written by two statements."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import CreditsMissingError

QuotaUnit = Literal["tokens", "credits", "times"]
UNLIMITED = -1
USE_NOTED_EVERY = 300.0
"""Seconds for which a provider's last_used stays as it is."""


@dataclass(frozen=True, slots=True)
class Use:
    """One message's use of a provider."""

    tenant_id: str
    names: tuple[str, ...]
    """Both spellings under which the provider's rows may stand."""
    quota_type: str | None
    amount: int | None
    """What it adds to quota_used of the system provider's row of that quota type; None: nothing."""


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A locked row of `providers`."""

    id: str
    tenant_id: str
    name: str
    provider_type: str
    quota_type: str | None
    quota_limit: int | None
    quota_used: int | None
    stale: bool
    """Its last_used is to be set."""


def amount(unit: QuotaUnit | None, limit: int | None, tokens: int, credit: int | None) -> int | None:
    """What one message adds to quota_used; None: it is not charged (no quota, or an unlimited one).

    `tokens` are those of question and answer, `credit` what the model costs. Raises CreditsMissingError.
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


def charged(limit: int | None, used: int | None, amounts: Iterable[int]) -> int | None:
    """quota_used after the amounts, in order: each counts in full if `limit > used` holds when its turn comes."""
    if limit is None or used is None:
        return used
    for added in amounts:
        if limit > used:
            used += added
    return used


def charged_row(row: ProviderRow, uses: Iterable[Use]) -> int | None:
    """The row's quota_used after the uses, in order."""
    if row.provider_type != "system":
        return row.quota_used
    return charged(
        row.quota_limit,
        row.quota_used,
        (
            use.amount
            for use in uses
            if use.amount is not None
            and use.tenant_id == row.tenant_id
            and use.quota_type == row.quota_type
            and row.name in use.names
        ),
    )


# Locked in one order by all, so that two workers with the same providers wait for each other and never deadlock.
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


async def record_uses(session: AsyncSession, uses: Sequence[Use]) -> None:
    """Charge the uses in order and note when each provider was last used.

    The rows end as if each use had come alone: `update … set quota_used = quota_used + amount where quota_limit >
    quota_used`, for each row of its tenant, quota type and either name.
    """
    places = sorted({(use.tenant_id, name) for use in uses for name in use.names})
    found = await session.execute(
        _LOCK,
        {
            "tenants": [tenant_id for tenant_id, _ in places],
            "names": [name for _, name in places],
            "every": USE_NOTED_EVERY,
        },
    )
    rows = [ProviderRow(*row) for row in found]
    by_place: dict[tuple[str, str], list[Use]] = {}
    for use in uses:
        for name in use.names:
            by_place.setdefault((use.tenant_id, name), []).append(use)
    outcomes = [(row, charged_row(row, by_place.get((row.tenant_id, row.name), ()))) for row in rows]
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
