"""Deletes as the platform's Beat tasks do: a page of 100 rows, then a commit. Only runs are deleted in sets."""

from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from streams.dify.models import (
    App,
    AppAnnotationHitHistory,
    Conversation,
    Embedding,
    Message,
    MessageAgentThought,
    MessageAnnotation,
    MessageChain,
    MessageFeedback,
    MessageFile,
    SavedMessage,
    WorkflowAppLog,
    WorkflowNodeExecution,
    WorkflowRun,
    utc_now,
)
from streams.dify.models import WorkflowConversationVariable as Variable

PAGE = 100
AGE = timedelta(days=30)
_PARTS = (MessageFeedback, MessageAnnotation, MessageChain, MessageAgentThought, MessageFile, SavedMessage)
_OF_RUNS = (
    AppAnnotationHitHistory,
    MessageAgentThought,
    MessageChain,
    MessageFile,
    MessageAnnotation,
    MessageFeedback,
)


def delete_messages(engine: Engine, count: int) -> None:
    """Delete the newest of the old messages. The plans of tenants are known."""
    cutoff = utc_now() - AGE
    for _ in range(count // PAGE):
        _delete_page(engine, cutoff)


def _delete_page(engine: Engine, cutoff: datetime) -> None:
    with Session(engine) as session:
        page = select(Message).where(Message.created_at < cutoff).order_by(Message.created_at.desc()).limit(PAGE)
        for message in session.scalars(page).all():
            session.scalars(select(App).where(App.id == message.app_id)).first()
            for part in _PARTS:
                session.execute(
                    delete(part).where(part.message_id == message.id).execution_options(synchronize_session=False)
                )
            session.execute(
                delete(Message).where(Message.id == message.id).execution_options(synchronize_session=False)
            )
        session.commit()


def delete_embeddings(engine: Engine, count: int) -> None:
    """Delete the newest of the old entries."""
    cutoff = utc_now() - AGE
    for _ in range(count // PAGE):
        with Session(engine) as session:
            newest = Embedding.created_at.desc()
            page = select(Embedding.id).where(Embedding.created_at < cutoff).order_by(newest).limit(PAGE)
            for embedding_id in session.scalars(page).all():
                session.execute(
                    delete(Embedding).where(Embedding.id == embedding_id).execution_options(synchronize_session=False)
                )
            session.commit()


def delete_runs(engine: Engine, count: int) -> None:
    """Delete the oldest runs. No index finds them, or their messages."""
    cutoff = utc_now() - AGE
    for _ in range(count // PAGE):
        with Session(engine) as session:
            page = select(WorkflowRun.id).where(WorkflowRun.created_at < cutoff).order_by(WorkflowRun.created_at)
            run_ids = session.scalars(page.limit(PAGE)).all()
            of_runs = select(Message.id, Message.conversation_id).where(Message.workflow_run_id.in_(run_ids))
            messages = session.execute(of_runs).all()
            message_ids = [row.id for row in messages]
            conversation_ids = [row.conversation_id for row in messages]
            for kind, rows in (
                *((part, part.message_id.in_(message_ids)) for part in _OF_RUNS),
                (Message, Message.id.in_(message_ids)),
                (WorkflowAppLog, WorkflowAppLog.workflow_run_id.in_(run_ids)),
                (WorkflowNodeExecution, WorkflowNodeExecution.workflow_run_id.in_(run_ids)),
                (Variable, Variable.conversation_id.in_(conversation_ids)),
                (Conversation, Conversation.id.in_(conversation_ids)),
                (WorkflowRun, WorkflowRun.id.in_(run_ids)),
            ):
                session.execute(delete(kind).where(rows).execution_options(synchronize_session=False))
            session.commit()
