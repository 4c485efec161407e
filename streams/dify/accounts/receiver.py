"""Finds where a person gets mail."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import ForeignTenantError, RefusedError
from streams.dify.models import Account, TenantAccountJoin


@dataclass(frozen=True, slots=True)
class Receiver:
    """The address and the language of a person."""

    address: str
    language: str | None


async def receiver_of(session: AsyncSession, account_id: str, event_tenant: str | None) -> Receiver:
    """Return where the person of an account gets mail.

    Args:
        session: A transaction.
        account_id: The account, as a checked id.
        event_tenant: The tenant of the event, as a checked id. None: it does not say one.

    Raises:
        ForeignTenantError: The account is a member of other tenants only.
        RefusedError: There is no such account.
    """
    account = await session.get(Account, account_id)
    if account is None:
        message = f"account {account_id} does not exist"
        raise RefusedError(message)
    query = select(TenantAccountJoin.tenant_id).where(TenantAccountJoin.account_id == account_id)
    tenants = set(await session.scalars(query))
    if event_tenant is not None and tenants and event_tenant not in tenants:
        message = f"account {account_id} belongs to another tenant than the event"
        raise ForeignTenantError(message)
    return Receiver(account.email, account.interface_language)
