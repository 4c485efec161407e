"""Deletes the messages of old workflow runs, and conversations that have no message left.

No index finds the messages of a run. So old messages are read by their index on created_at, and each leads to its run
by the primary key.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, exists, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import OWNERS_PER_STEP, DeletionStep, Rows, table_of, without_parts
from streams.dify.cleanup.messages import PARTS_OF_CONVERSATIONS, remove_conversation_parts
from streams.dify.models import Conversation, Message, ToolFile, WorkflowRun
from streams.dify.platform import Platform
from streams.dify.retention.file_owners import by_file_owner, pieces
from streams.dify.retention.messages import remove_with_files
from streams.dify.retention.position import Position, parse_position
from streams.dify.retention.step import RetentionStep, TimeBudget
from streams.dify.sql import as_text, one_of

MESSAGES_PER_PAGE = 2_000
"""The number of messages that are read at once."""
_LATER = timedelta(days=1)
"""How much younger than its run a message may be: another process writes it."""


class RunMessage(NamedTuple):
    """An old message, and the tenant of its run if that is to be deleted."""

    id: str
    created_at: datetime
    conversation_id: str
    tenant_id: str | None
    """None: it has no run, or the run stays."""


async def delete_messages_of_runs(  # noqa: PLR0913 - what to delete, how, and how long
    session: AsyncSession,
    platform: Platform,
    old_runs: Rows,
    *,
    cutoff: datetime,
    cursor: str | None,
    budget: TimeBudget,
) -> RetentionStep:
    """Delete the messages of old runs with all their parts and files. Their annotations stay.

    Args:
        session: the transaction of the step.
        platform: the services.
        old_runs: a condition for the runs that are to be deleted.
        cutoff: all these runs were created before.
        cursor: where the step before ended.
        budget: the time of this step.

    Raises:
        RefusedError: the cursor is invalid.
    """
    step, position = RetentionStep(), parse_position(cursor)
    while True:
        page = await _page(session, old_runs, cutoff + _LATER, position)
        ended = await _remove(session, platform, page, cutoff, budget, step)
        if page and (ended or not step.removed.total()):
            position = Position(page[-1].created_at, page[-1].id)
        if ended and len(page) < MESSAGES_PER_PAGE:
            return step
        if budget.is_spent or not ended:
            step.cursor = str(position)
            return step


async def _remove(  # noqa: PLR0913, PLR0917 - the parts of a step
    session: AsyncSession,
    platform: Platform,
    page: Sequence[RunMessage],
    cutoff: datetime,
    budget: TimeBudget,
    step: RetentionStep,
) -> bool:
    """Delete those messages of a page whose runs are old. Returns False if the time was spent before the end."""
    old = {one.id: one for one in page if one.tenant_id is not None}
    for some in pieces(old, OWNERS_PER_STEP):
        owners = {message_id: one.tenant_id for message_id, one in some.items()}
        ended = await remove_with_files(session, platform, owners, budget, step)
        # In the same transaction: later nothing leads to a conversation without messages.
        conversations = {one.conversation_id: one.tenant_id for one in some.values()}
        await _remove_conversations(session, platform, conversations, cutoff, step)
        if not ended:
            return False
    return True


async def _remove_conversations(
    session: AsyncSession,
    platform: Platform,
    owners: Mapping[str, str | None],
    cutoff: datetime,
    step: RetentionStep,
) -> None:
    """Delete those of the conversations that have no message and that nobody has continued since the cutoff.

    The platform sets updated_at before it adds a message to a conversation. So it waits for the lock, and fails before
    it writes a message without a conversation.
    """
    empty = (
        select(as_text(Conversation.id).label("id"), as_text(Conversation.app_id).label("app_id"))
        .where(
            one_of(Conversation.id, owners),
            Conversation.updated_at < cutoff,
            ~exists().where(Message.conversation_id == Conversation.id),
        )
        .order_by(Conversation.id)
        .with_for_update(skip_locked=True)
    )
    apps = {row.id: row.app_id for row in await session.execute(empty)}
    files = select(as_text(ToolFile.conversation_id)).where(one_of(ToolFile.conversation_id, apps)).distinct()
    locked = {one: owners[one] for one in apps}
    with_files = set(await session.scalars(files))
    for tenant_id, ids in by_file_owner(locked, with_files).items():
        cleanup = DeletionStep(session, platform, "old conversations", tenant_id, removed=step.removed)
        app_ids = sorted({apps[one] for one in ids})
        have_files = not with_files.isdisjoint(ids)
        while not await remove_conversation_parts(cleanup, ids, app_ids, keep_annotations=True, have_files=have_files):
            pass
        bare = one_of(Conversation.id, ids) & without_parts(Conversation.id, PARTS_OF_CONVERSATIONS)
        await cleanup.rows(table_of(Conversation), bare)


async def _page(session: AsyncSession, old_runs: Rows, until: datetime, after: Position) -> list[RunMessage]:
    query = (
        select(
            as_text(Message.id),
            Message.created_at,
            as_text(Message.conversation_id),
            as_text(WorkflowRun.tenant_id),
        )
        .select_from(Message)
        .outerjoin(WorkflowRun, and_(WorkflowRun.id == Message.workflow_run_id, old_runs))
        .where(Message.created_at < until, tuple_(Message.created_at, Message.id) > (after.created_at, after.id))
        .order_by(Message.created_at, Message.id)
        .limit(MESSAGES_PER_PAGE)
    )
    return [RunMessage(*row) for row in await session.execute(query)]
