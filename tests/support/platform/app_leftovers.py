"""Creates apps and conversations with rows in every table that can refer to them, and runs their clean-ups."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from schemas import AppDeleted, Event
from streams.database.tables import outbox
from streams.dify.cleanup.app import APP_TABLES
from streams.dify.models import (
    App,
    Conversation,
    DatasetRetrieverResource,
    InstalledApp,
    Message,
    MessageAgentThought,
    MessageAnnotation,
    MessageChain,
    MessageFeedback,
    MessageFile,
    Model,
    PinnedConversation,
    SavedMessage,
    TagBinding,
    ToolConversationVariable,
    ToolFile,
    UploadFile,
    WorkflowConversationVariable,
    WorkflowDraftVariable,
    WorkflowDraftVariableFile,
    WorkflowNodeExecution,
    WorkflowNodeExecutionOffload,
)
from streams.dify.models import AppAnnotationHitHistory as HitHistory
from streams.dify.vector_stores.port import Entry
from tests.support.platform.app_rows import add_app, make_row
from tests.support.platform.cleanup_steps import CLEANERS, asked_for, left
from tests.support.platform.handler_runs import Site

MESSAGE_PARTS = (MessageFeedback, MessageChain, MessageAgentThought, SavedMessage, HitHistory, DatasetRetrieverResource)


@dataclass(frozen=True)
class Talk:
    """A conversation with one message that has a sent file, a file of a tool, and a row in every other table."""

    id: str
    app_id: str
    message_id: str
    annotation_id: str
    files: frozenset[str]
    """The keys in the storage."""

    async def left(self, site: Site) -> dict[str, int]:
        """Count the rows that name the conversation or its message."""
        of_message, of_conversation = (
            await left(site, message_id=self.message_id),
            await left(site, conversation_id=self.id),
        )
        return of_message | of_conversation


@dataclass(frozen=True)
class FullApp:
    """An app with a row in every table, and its files."""

    app: App
    talk: Talk
    files: frozenset[str] = field(default_factory=frozenset)

    def deleted(self) -> AppDeleted:
        return AppDeleted(app_id=self.app.id, tenant_id=self.app.tenant_id)

    async def left(self, site: Site) -> dict[str, int]:
        """Count the rows that name the app, its message or its conversation, and its vectors."""
        counts = await self.talk.left(site) | await left(site, app_id=self.app.id)
        counts |= await left(site, target_id=self.app.id)
        vectors = await site.vectors(self.app.id)
        return counts | ({"vectors": vectors} if vectors else {})


async def add_talk(site: Site, app: App, **columns: object) -> Talk:
    """Add a conversation of an app. `columns` are those of its message."""
    conversation_id, message_id, annotation_id, user_id = (str(uuid4()) for _ in range(4))
    of_message: dict[str, Any] = {"app_id": app.id, "message_id": message_id, "conversation_id": conversation_id}
    sent, made = await _upload(site, user_id), await _tool_file(site, conversation_id)
    by_user = {"message_id": message_id, "created_by": user_id}
    await site.add(
        make_row(Conversation, id=conversation_id, app_id=app.id),
        make_row(Message, id=message_id, app_id=app.id, conversation_id=conversation_id, **columns),
        *(_fitting(kind, of_message) for kind in MESSAGE_PARTS),
        make_row(MessageAnnotation, id=annotation_id, **of_message),
        sent,
        made,
        make_row(MessageFile, **by_user, transfer_method="local_file", upload_file_id=sent.id),
        make_row(MessageFile, **by_user, transfer_method="tool_file", url=f"/files/tools/{made.id}.png"),
        *(
            _fitting(kind, {**of_message, "tenant_id": site.tenant_id})
            for kind in (PinnedConversation, ToolConversationVariable, WorkflowConversationVariable)
        ),
    )
    return Talk(conversation_id, app.id, message_id, annotation_id, frozenset({sent.key, made.file_key}))


async def add_full_app(site: Site) -> FullApp:
    """Add an app with a row in every table that can refer to one, with files and an annotation index."""
    app = await add_app(site)
    execution_id, variable_file_id = str(uuid4()), str(uuid4())
    offload, variable = await _upload(site), await _upload(site)
    of_app = {"app_id": app.id, "tenant_id": site.tenant_id}
    given: dict[type[Model], dict[str, object]] = {
        InstalledApp: {"app_owner_tenant_id": site.tenant_id},
        TagBinding: {"target_id": app.id},
        WorkflowNodeExecution: {"id": execution_id},
        WorkflowNodeExecutionOffload: {"node_execution_id": execution_id, "file_id": offload.id},
        WorkflowDraftVariable: {"file_id": variable_file_id},
        WorkflowDraftVariableFile: {"id": variable_file_id, "upload_file_id": variable.id},
    }
    kinds = {mapper.class_.__tablename__: mapper.class_ for mapper in Model.registry.mappers}
    names = {table.name for table in APP_TABLES} - {Message.__tablename__, Conversation.__tablename__}
    rows = [_fitting(kinds[name], {**of_app, **given.get(kinds[name], {})}) for name in sorted(names)]
    await site.add(offload, variable, *rows)
    talk = await add_talk(site, app)
    async with site.transaction() as session:
        collection, vectors = site.collection(app.id), site.platform.vectors
        await vectors.create(session, collection, 3)
        await vectors.upsert(
            session, collection, [Entry(str(uuid4()), "?", "h", str(uuid4()), app.id, [1.0, 0.0, 0.0])]
        )
    return FullApp(app, talk, frozenset({offload.key, variable.key}) | talk.files)


async def run_steps(site: Site, deletion: Event) -> tuple[list[dict[str, Any]], list[Event]]:
    """Run a clean-up with all its steps. Returns the result of each, and the other events that are due now."""
    results: list[dict[str, Any]] = []
    others: list[Event] = []
    waiting = [deletion]
    while waiting:
        assert len(results) < 300, "the steps do not end"
        one = waiting.pop(0)
        result = await site.run(CLEANERS[type(one)], one)
        assert isinstance(result, dict)
        results.append(result)
        for published in await asked_for(site):
            (waiting if type(published) is type(deletion) else others).append(published)
    return results, others


async def repetitions(site: Site) -> list[tuple[Event, datetime]]:
    """Return the events of the outbox that are due later."""
    async with site.transaction() as session:
        rows = (await session.execute(select(outbox.c.topic, outbox.c.value, outbox.c.due_at))).all()
    return [(site.codec.decode(topic, value), due.astimezone(UTC)) for topic, value, due in rows]


def _fitting(kind: type[Model], columns: dict[str, Any]) -> Model:
    """Return a row with those of the columns that its table has."""
    return make_row(kind, **{name: value for name, value in columns.items() if name in kind.__table__.columns})


async def _upload(site: Site, user_id: str | None = None) -> UploadFile:
    key = f"upload_files/{site.tenant_id}/{uuid4()}.txt"
    await site.platform.storage.write(key, b"file")
    file = make_row(UploadFile, id=str(uuid4()), tenant_id=site.tenant_id, key=key, created_by=user_id or str(uuid4()))
    assert isinstance(file, UploadFile)
    return file


async def _tool_file(site: Site, conversation_id: str | None) -> ToolFile:
    key = f"tools/{site.tenant_id}/{uuid4()}.png"
    await site.platform.storage.write(key, b"image")
    file = make_row(ToolFile, id=str(uuid4()), tenant_id=site.tenant_id, file_key=key, conversation_id=conversation_id)
    assert isinstance(file, ToolFile)
    return file
