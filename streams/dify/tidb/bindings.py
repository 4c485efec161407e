"""The rows of the clusters: free ones that are being created or active, and those of tenants.

Free clusters are found by the index on `active`, those that are being created by the primary key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import TidbAuthBinding
from streams.dify.sql import affected_rows, one_of
from streams.dify.tidb.client import ACTIVE, ActiveCluster, NewCluster

CREATING = "CREATING"
FIRST_ACCOUNT = "root"
"""The account until the cluster is active and has a prefix for it."""


@dataclass(frozen=True, slots=True)
class Creating:
    """A cluster that is being created."""

    id: str
    """Of its row."""
    cluster_id: str


async def is_only_run(session: AsyncSession) -> bool:
    """Return whether no other transaction creates clusters. The lock ends with the transaction."""
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended("tidb clusters", 0))
    return bool(await session.scalar(select(lock)))


async def count_free(session: AsyncSession, most: int) -> int:
    """Return the number of clusters that no tenant has, at most `most`."""
    free = select(literal(1)).where(TidbAuthBinding.active.is_(False)).limit(most).subquery()
    return await session.scalar(select(func.count()).select_from(free)) or 0


def add_bindings(session: AsyncSession, clusters: Sequence[NewCluster]) -> None:
    """Add the rows of new clusters."""
    session.add_all(
        TidbAuthBinding(
            tenant_id=None,
            cluster_id=one.cluster_id,
            cluster_name=one.name,
            account=FIRST_ACCOUNT,
            password=one.password,
            active=False,
            status=CREATING,
        )
        for one in clusters
    )


async def creating_after(session: AsyncSession, cursor: str | None, most: int) -> list[Creating]:
    """Return the next free clusters that are being created.

    Args:
        session: A transaction.
        cursor: The row before them; None: the first ones.
        most: How many.
    """
    rows = TidbAuthBinding
    query = select(rows.id, rows.cluster_id).where(rows.active.is_(False), rows.status == CREATING)
    if cursor is not None:
        query = query.where(rows.id > cursor)
    return [Creating(*row) for row in (await session.execute(query.order_by(rows.id).limit(most))).all()]


async def mark_active(session: AsyncSession, asked: Sequence[Creating], active: Sequence[ActiveCluster]) -> int:
    """Write the accounts of active clusters among those that were asked for. Returns the number of changed rows."""
    rows, changed = TidbAuthBinding, 0
    for one in active:
        ids = [creating.id for creating in asked if creating.cluster_id == one.cluster_id]
        statement = update(rows).where(one_of(rows.id, ids), rows.status == CREATING)
        changed += await affected_rows(session, statement.values(status=ACTIVE, account=one.account))
    return changed
