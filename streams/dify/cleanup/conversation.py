"""Deletes everything that a deleted conversation has left, in bounded steps, and checks that nothing is left."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.bounded_deletion import DeletionStep, lock_cleanup, tables_with_rows
from streams.dify.cleanup.messages import remove_conversation_parts, remove_messages, rows_of_conversation
from streams.dify.models import App, Conversation, Message, ToolConversationVariable, ToolFile
from streams.dify.platform import Platform
from streams.dify.tenancy import of_event, one_tenant


async def conversation_exists(session: AsyncSession, conversation_id: str, event_tenant: str | None) -> bool:
    """Return whether the conversation's row (still) exists.

    Raises ForeignTenantError if its app is not the event's tenant's.
    """
    query = select(Conversation.id, App.tenant_id).outerjoin(App, App.id == Conversation.app_id)
    found = (await session.execute(query.where(Conversation.id == conversation_id))).one_or_none()
    one_tenant(of_event(event_tenant), (f"conversation {conversation_id}", found and found.tenant_id))
    return found is not None


async def clean_deleted_conversation(
    session: AsyncSession, platform: Platform, conversation_id: str, event_tenant: str | None
) -> DeletionStep:
    """Execute one step after the deletion of a conversation.

    Raises RefusedError, ForeignTenantError, and LeftBehindError if rows are left that cannot be deleted.
    """
    of_conversation = Message.conversation_id == conversation_id
    app_ids = list(await session.scalars(select(Message.app_id).where(of_conversation).limit(1)))
    await lock_cleanup(session, f"conversation {conversation_id}", *(f"app {app_id}" for app_id in app_ids))
    tenant_id = await _tenant(session, conversation_id, app_ids, event_tenant)
    step = DeletionStep(session, platform, f"conversation {conversation_id}", tenant_id)
    if not await remove_conversation_parts(step, [conversation_id], app_ids):
        return step
    if not await remove_messages(step, of_conversation):
        return step
    step.finish(await tables_with_rows(session, rows_of_conversation(conversation_id, tenant_id)))
    return step


async def _tenant(
    session: AsyncSession, conversation_id: str, app_ids: list[str], event_tenant: str | None
) -> str | None:
    """Return the tenant of a deleted conversation. Its app and the rows that it has left say it too."""
    app = await session.scalar(select(App.tenant_id).where(App.id.in_(app_ids))) if app_ids else None
    left = [
        await session.scalar(select(kind.tenant_id).where(kind.conversation_id == conversation_id).limit(1))
        for kind in (ToolFile, ToolConversationVariable)
    ]
    return one_tenant(
        of_event(event_tenant),
        ("the app of the conversation", app),
        *(("what the conversation has left", tenant_id) for tenant_id in left),
    )
