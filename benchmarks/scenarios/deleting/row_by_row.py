"""Deletes as the platform's Beat tasks do: a page of 100 rows, newest first, one by one, and a commit for each page."""

from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from streams.dify.models import (
    App,
    Embedding,
    Message,
    MessageAgentThought,
    MessageAnnotation,
    MessageChain,
    MessageFeedback,
    MessageFile,
    SavedMessage,
    utc_now,
)

PAGE = 100
AGE = timedelta(days=30)
_PARTS = (MessageFeedback, MessageAnnotation, MessageChain, MessageAgentThought, MessageFile, SavedMessage)


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
