"""Deletes messages and conversations with everything that belongs to them, in bounded steps.

Each function returns whether nothing of its kind is left, except rows that cannot be deleted.
"""

from collections.abc import Sequence

from sqlalchemy import Table, Uuid, cast, exists, func, select, update
from sqlalchemy.orm import aliased

from streams.dify.cleanup.bounded_deletion import (
    OWNERS_PER_STEP,
    DeletionStep,
    RemovedAnnotation,
    Rows,
    table_of,
    without_parts,
)
from streams.dify.models import (
    AppAnnotationHitHistory,
    AppAnnotationSetting,
    Conversation,
    DatasetRetrieverResource,
    Message,
    MessageAgentThought,
    MessageAnnotation,
    MessageChain,
    MessageFeedback,
    MessageFile,
    PinnedConversation,
    SavedMessage,
    ToolConversationVariable,
    ToolFile,
    UploadFile,
    WorkflowConversationVariable,
)
from streams.dify.sql import affected_rows, as_text, one_of

TOOL_FILE = "tool_file"
"""The transfer method of message files that a tool made. Their upload_file_id is a row of tool_files."""
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OF_MESSAGES = (
    MessageFeedback,
    MessageChain,
    MessageAgentThought,
    MessageFile,
    AppAnnotationHitHistory,
    DatasetRetrieverResource,
)
_OF_CONVERSATIONS = (ToolConversationVariable, WorkflowConversationVariable, MessageFeedback)
PARTS_OF_CONVERSATIONS = tuple(kind.conversation_id for kind in _OF_CONVERSATIONS)
"""The columns that name a conversation. While one does, its row stays."""


async def remove_messages(
    step: DeletionStep, which: Rows, *, keep_annotations: bool = False, have_files: bool = True
) -> bool:
    """Delete some messages with their parts and files.

    Args:
        step: the step of the clean-up.
        which: the messages.
        keep_annotations: annotations stay as if they had been added without a message.
        have_files: whether one of the messages may have a file.
    """
    some = select(as_text(Message.id), as_text(Message.app_id)).where(which).limit(OWNERS_PER_STEP)
    found = (await step.session.execute(some)).all()
    if not found:
        return True
    message_ids = [message_id for message_id, _ in found]
    if have_files and not await step.files(ToolFile, _made_by_tools(message_ids)):
        return False
    if have_files and not await step.files(UploadFile, _sent(message_ids)):
        return False
    conditions = [(table_of(kind), one_of(kind.message_id, message_ids)) for kind in _OF_MESSAGES]
    # Its index begins with the app.
    saved = one_of(SavedMessage.app_id, {app_id for _, app_id in found})
    conditions.append((table_of(SavedMessage), saved & one_of(SavedMessage.message_id, message_ids)))
    emptied = await step.all_emptied(conditions)
    annotated = one_of(MessageAnnotation.message_id, message_ids)
    if keep_annotations:
        await _detach_annotations(step, annotated)
    else:
        emptied = await remove_annotations(step, annotated) and emptied
    if not emptied:
        return False
    parts = [*(kind.message_id for kind in _OF_MESSAGES), MessageAnnotation.message_id]
    bare = one_of(Message.id, message_ids) & without_parts(Message.id, parts)
    return await step.rows(table_of(Message), bare) < OWNERS_PER_STEP


async def remove_conversation_parts(
    step: DeletionStep,
    conversation_ids: Sequence[str],
    app_ids: Sequence[str],
    *,
    keep_annotations: bool = False,
    have_files: bool = True,
) -> bool:
    """Delete some of what belongs to these conversations and to none of their messages.

    Args:
        step: the step of the clean-up.
        conversation_ids: the conversations.
        app_ids: their apps. If they are unknown, the list is empty.
        keep_annotations: annotations stay as if they had been added without a conversation.
        have_files: whether one of the conversations may have a file.
    """
    if have_files and not await step.files(ToolFile, one_of(ToolFile.conversation_id, conversation_ids)):
        return False
    conditions = [(table_of(kind), one_of(kind.conversation_id, conversation_ids)) for kind in _OF_CONVERSATIONS]
    pinned = one_of(PinnedConversation.conversation_id, conversation_ids)
    if app_ids:  # Its index begins with the app.
        pinned = one_of(PinnedConversation.app_id, app_ids) & pinned
    conditions.append((table_of(PinnedConversation), pinned))
    emptied = await step.all_emptied(conditions)
    annotated = one_of(MessageAnnotation.conversation_id, conversation_ids)
    if keep_annotations:
        await _detach_annotations(step, annotated)
    else:
        emptied = await remove_annotations(step, annotated) and emptied
    return emptied


async def remove_conversations(step: DeletionStep, app_id: str) -> bool:
    """Delete some conversations of an app with their parts. Their messages are deleted before."""
    of_app = Conversation.app_id == app_id
    found = list(await step.session.scalars(select(Conversation.id).where(of_app).limit(OWNERS_PER_STEP)))
    if not found:
        return True
    if not await remove_conversation_parts(step, found, [app_id]):
        return False
    bare = one_of(Conversation.id, found) & without_parts(Conversation.id, PARTS_OF_CONVERSATIONS)
    return await step.rows(table_of(Conversation), bare) < OWNERS_PER_STEP


async def remove_annotations(step: DeletionStep, which: Rows) -> bool:
    """Delete some annotations. Those that are in an annotation index are added to `step.annotations`."""
    ids = list(await step.session.scalars(select(MessageAnnotation.id).where(which).limit(OWNERS_PER_STEP)))
    some = one_of(MessageAnnotation.id, ids)
    indexed = (
        select(MessageAnnotation.id, MessageAnnotation.app_id, AppAnnotationSetting.collection_binding_id)
        .join(AppAnnotationSetting, AppAnnotationSetting.app_id == MessageAnnotation.app_id)
        .where(some)
        .distinct()
    )
    found = [RemovedAnnotation(*row) for row in await step.session.execute(indexed)]
    count = await step.rows(table_of(MessageAnnotation), some)
    kept = set(await step.session.scalars(select(MessageAnnotation.id).where(some))) if count < len(ids) else set()
    step.annotations += [one for one in found if one.annotation_id not in kept]
    return count < OWNERS_PER_STEP


async def _detach_annotations(step: DeletionStep, which: Rows) -> None:
    """Let annotations forget their message and conversation. One without a question gets the message's."""
    asked = select(Message.query).where(Message.id == MessageAnnotation.message_id).scalar_subquery()
    question = func.coalesce(MessageAnnotation.question, asked)
    detach = update(MessageAnnotation).where(which).values(question=question, message_id=None, conversation_id=None)
    step.removed["annotations detached"] += await affected_rows(step.session, detach)


def rows_of_conversation(conversation_id: str, tenant_id: str | None) -> list[tuple[Table, Rows]]:
    """Return the tables with a condition for the rows that belong to a conversation, of its tenant only."""
    conditions: list[tuple[Table, Rows]] = []
    for table in map(table_of, (Message, ToolFile, MessageAnnotation, PinnedConversation, *_OF_CONVERSATIONS)):
        which: Rows = table.c.conversation_id == conversation_id
        of_tenant = tenant_id is not None and "tenant_id" in table.c
        conditions.append((table, which & (table.c.tenant_id == tenant_id) if of_tenant else which))
    return conditions


def _made_by_tools(message_ids: Sequence[str]) -> Rows:
    """Return a condition for the files of tools that message files name. In older rows only their URL does."""
    named = func.coalesce(MessageFile.upload_file_id, cast(func.substring(MessageFile.url, _UUID), Uuid))
    by_tools = one_of(MessageFile.message_id, message_ids) & (MessageFile.transfer_method == TOOL_FILE)
    return ToolFile.id.in_(select(named).where(by_tools))


def _sent(message_ids: Sequence[str]) -> Rows:
    """Return a condition for the uploads of these messages that their own sender has uploaded.

    A file that this user has sent in another message too is left out. No index finds the messages of other users.
    """
    of_messages = one_of(MessageFile.message_id, message_ids) & (MessageFile.transfer_method != TOOL_FILE)
    by_sender = exists().where(
        of_messages,
        MessageFile.upload_file_id == UploadFile.id,
        MessageFile.created_by == UploadFile.created_by,
    )
    other = aliased(MessageFile)
    again = exists().where(
        other.created_by == UploadFile.created_by,
        other.upload_file_id == UploadFile.id,
        ~one_of(other.message_id, message_ids),
    )
    return UploadFile.id.in_(select(MessageFile.upload_file_id).where(of_messages)) & by_sender & ~again
