"""The logs of documents that were disabled because nobody used them: whom to tell, and what is told already.

Tenants are walked by the index of the logs on the tenant. `notified` has no index, so each tenant is looked at once.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.accounts.receiver import Receiver
from streams.dify.models import Account, Tenant, TenantAccountJoin

PAGE = 50
"""Tenants that one statement finds."""
MOST_NAMED = 50
"""Knowledge bases that a notice names. The others are counted as one."""
OTHERS = "…"
_BEGINNING = str(UUID(int=0))

TENANTS = text(
    """
    with recursive tenants as (
        (
            select tenant_id, 1 as number from dataset_auto_disable_logs
            where tenant_id > cast(:cursor as uuid) order by tenant_id limit 1
        )
        union all
        select following.tenant_id, tenants.number + 1 from tenants cross join lateral (
            select tenant_id from dataset_auto_disable_logs
            where tenant_id > tenants.tenant_id order by tenant_id limit 1
        ) as following
        where tenants.number < :page
    )
    select tenant_id::text as tenant_id, exists (
        select from dataset_auto_disable_logs as log where log.tenant_id = tenants.tenant_id and not log.notified
    ) as is_open
    from tenants order by number
    """
)
MARK = text(
    """
    with marked as (
        update dataset_auto_disable_logs set notified = true
        where tenant_id = cast(:tenant_id as uuid) and not notified returning dataset_id
    )
    select datasets.name, count(*) as documents
    from marked left join datasets on datasets.id = marked.dataset_id and datasets.tenant_id = cast(:tenant_id as uuid)
    group by datasets.name order by count(*) desc, datasets.name
    """
)


@dataclass(frozen=True, slots=True)
class TenantWithLogs:
    """A tenant, and whether it has a log that nobody was told about."""

    tenant_id: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class Marked:
    """The logs of a tenant that are marked now."""

    logs: int
    documents: dict[str, str]
    """The name of a knowledge base that still exists → the number of its documents."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a tenant."""

    workspace: str
    name: str
    receiver: Receiver


async def tenants_after(session: AsyncSession, cursor: str | None) -> list[TenantWithLogs]:
    """Return the next tenants that have logs, at most `PAGE`. `cursor`: the last tenant before them; None: none."""
    rows = await session.execute(TENANTS, {"cursor": cursor or _BEGINNING, "page": PAGE})
    return [TenantWithLogs(row.tenant_id, row.is_open) for row in rows]


async def mark_as_notified(session: AsyncSession, tenant_id: str) -> Marked:
    """Mark the logs of a tenant, and return what its notice says. Another step finds nothing to mark."""
    rows = (await session.execute(MARK, {"tenant_id": tenant_id})).all()
    named = [row for row in rows if row.name is not None]
    documents = {row.name: str(row.documents) for row in named[:MOST_NAMED]}
    if named[MOST_NAMED:]:
        documents[OTHERS] = str(sum(row.documents for row in named[MOST_NAMED:]))
    return Marked(sum(row.documents for row in rows), documents)


async def owner_of(session: AsyncSession, tenant_id: str) -> Owner | None:
    """Return the owner of a tenant; None: the tenant or its owner does not exist."""
    query = (
        select(Tenant.name, Account)
        .join(TenantAccountJoin, TenantAccountJoin.tenant_id == Tenant.id)
        .join(Account, Account.id == TenantAccountJoin.account_id)
        .where(Tenant.id == tenant_id, TenantAccountJoin.role == "owner")
        .order_by(TenantAccountJoin.created_at, TenantAccountJoin.id)
        .limit(1)
    )
    found = (await session.execute(query)).first()
    if found is None:
        return None
    workspace, account = found
    return Owner(workspace, account.name, Receiver(account.email, account.interface_language))
