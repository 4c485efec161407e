"""Deletes old messages of tenants with the plan sandbox, and those whose app does not exist any more.

The table is read by its index on created_at. A message that stays, for example because its tenant pays, is passed and
not read again in this run.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import OWNERS_PER_STEP, DeletionStep, disable_sequential_scans
from streams.dify.cleanup.messages import remove_messages
from streams.dify.models import App, Message, MessageFile
from streams.dify.platform import Platform
from streams.dify.retention.file_owners import by_file_owner, pieces
from streams.dify.retention.plans import TenantPlans
from streams.dify.retention.position import Position, parse_position
from streams.dify.retention.step import RetentionStep, TimeBudget
from streams.dify.sql import as_text, one_of

MESSAGES_PER_PAGE = 2_000
"""The number of messages that are read at once."""


class OldMessage(NamedTuple):
    """A message that is older than the cutoff."""

    id: str
    created_at: datetime
    tenant_id: str | None
    """The tenant of its app; None: the app does not exist."""

    @property
    def position(self) -> Position:
        """Where it is in the order of the run."""
        return Position(self.created_at, self.id)


async def delete_old_messages(  # noqa: PLR0913 - what to delete, how, and how long
    session: AsyncSession,
    platform: Platform,
    plans: TenantPlans,
    *,
    cutoff: datetime,
    cursor: str | None,
    budget: TimeBudget,
) -> RetentionStep:
    """Delete messages that were created before the cutoff with all their parts and files. Their annotations stay.

    Without a billing service only messages without an app are deleted.

    Args:
        session: the transaction of the step.
        platform: the services.
        plans: the plans of tenants.
        cutoff: younger messages stay.
        cursor: where the step before ended.
        budget: the time of this step.

    Raises:
        RefusedError: the cursor is invalid, or the billing service rejects the request for a plan.
        BusyError, BillingAwayError: the billing service does not tell the first plan.
    """
    step, position, first = RetentionStep(), parse_position(cursor), True
    await disable_sequential_scans(session)
    while True:
        page = await _page(session, cutoff, position)
        known = await plans.known(page, first=first)
        first = False
        doomed = {one.id: one.tenant_id for one in known if one.tenant_id is None or plans.is_sandbox(one)}
        ended = True
        for some in pieces(doomed, OWNERS_PER_STEP):
            ended = ended and await remove_with_files(session, platform, some, budget, step)
        if known and (ended or not step.removed.total()):
            position = known[-1].position
            step.kept["messages"] += len(known) - len(doomed)
        if ended and len(page) == len(known) < MESSAGES_PER_PAGE:
            return step
        if budget.is_spent or not ended or len(known) < len(page):
            step.cursor = str(position)
            return step


async def remove_with_files(
    session: AsyncSession,
    platform: Platform,
    owners: Mapping[str, str | None],
    budget: TimeBudget,
    step: RetentionStep,
) -> bool:
    """Delete messages with their parts and files. A message that another clean-up has locked is left to it.

    Args:
        session: the transaction of the step.
        platform: the services.
        owners: the tenants of at most `OWNERS_PER_STEP` messages. None: unknown.
        budget: the time of this step.
        step: counts what is deleted.

    Returns:
        False if the time was spent. Some messages may be left by then.
    """
    query = select(as_text(Message.id)).where(one_of(Message.id, owners)).order_by(Message.id)
    locked = {one: owners[one] for one in await session.scalars(query.with_for_update(skip_locked=True))}
    files = select(as_text(MessageFile.message_id)).where(one_of(MessageFile.message_id, locked)).distinct()
    with_files = set(await session.scalars(files))
    for tenant_id, message_ids in by_file_owner(locked, with_files).items():
        have_files = not with_files.isdisjoint(message_ids)
        cleanup = DeletionStep(session, platform, "old messages", tenant_id, removed=step.removed)
        which = one_of(Message.id, message_ids)
        while not await remove_messages(cleanup, which, keep_annotations=True, have_files=have_files):
            if budget.is_spent:
                return False
    return not budget.is_spent


async def _page(session: AsyncSession, cutoff: datetime, after: Position) -> list[OldMessage]:
    query = (
        select(as_text(Message.id), Message.created_at, as_text(App.tenant_id))
        .select_from(Message)
        .outerjoin(App, App.id == Message.app_id)
        .where(Message.created_at < cutoff, tuple_(Message.created_at, Message.id) > (after.created_at, after.id))
        .order_by(Message.created_at, Message.id)
        .limit(MESSAGES_PER_PAGE)
    )
    return [OldMessage(*row) for row in await session.execute(query)]
