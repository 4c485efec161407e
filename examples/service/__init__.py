"""A service on the platform's tables: it writes its rows, and publishes in the same transaction what has to follow.

The work itself, indexing and cleaning up, is done by the workers. Run it with `uvicorn service:app`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from schemas import DocumentDeleted, DocumentIndexRequested
from service.rows import dataset_rows, document_rows, file_of, next_position, segments_of, upload_row
from streams.database import database_url
from streams.dify.models import Dataset, Document
from streams.dify.platform import Platform, build_platform
from streams.dify.search import passages
from streams.publishing import Outbox
from streams.settings import load_settings

NOT_FOUND, ACCEPTED = 404, 202
PASSAGES = 3


@dataclass(frozen=True, slots=True)
class Service:
    """What lives as long as the process."""

    sessions: async_sessionmaker[AsyncSession]
    platform: Platform


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Service]]:
    """Settings are the pipeline's own: STREAMS_DATABASE_URL, STREAMS_STORAGE_URL and the others."""
    settings = load_settings()
    engine = create_async_engine(database_url(settings), pool_pre_ping=True)
    yield {"service": Service(async_sessionmaker(engine, expire_on_commit=False), build_platform(settings))}
    await engine.dispose()


def the_service(request: Request) -> Service:
    """As `lifespan` made it."""
    return cast("Service", request.state.service)


async def transaction(service: Annotated[Service, Depends(the_service)]) -> AsyncIterator[AsyncSession]:
    """One transaction a request; what raises rolls it back, and the events that were published in it."""
    async with service.sessions.begin() as session:
        yield session


TheService = Annotated[Service, Depends(the_service)]
# `function`: it commits before the answer goes out, so nobody is told of what a failing commit takes back.
Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]
app = FastAPI(title="Documents", lifespan=lifespan)


class NewDataset(BaseModel):
    """A dataset to be made, with a tenant of its own."""

    name: str


class NewDocument(BaseModel):
    """A file to be indexed: its name ends in .txt or .md, and the like."""

    name: str
    text: str


class Made(BaseModel):
    """The id of what was made."""

    id: str


class Requested(BaseModel):
    """What was asked of the workers: `streams executions show EVENT_ID` tells what became of it."""

    id: str
    event_id: UUID


class Shown(BaseModel):
    """A document as it is now."""

    id: str
    name: str
    status: str
    """waiting, parsing, splitting, indexing, completed or error."""
    error: str | None
    segments: int


class Answer(BaseModel):
    """A passage that fits a question."""

    document: str
    text: str
    score: float


@app.post("/datasets", status_code=201)
async def make_dataset(new: NewDataset, session: Transaction) -> Made:
    """Nothing has to follow, so nothing is published."""
    tenant, dataset = dataset_rows(new.name)
    session.add_all((tenant, dataset))
    return Made(id=dataset.id)


@app.post("/datasets/{dataset_id}/documents", status_code=ACCEPTED)
async def make_document(dataset_id: UUID, new: NewDocument, session: Transaction, service: TheService) -> Requested:
    """The file first, for a worker may read it as soon as the transaction has committed; then rows and event."""
    dataset = await session.get(Dataset, str(dataset_id))
    if dataset is None:
        raise HTTPException(NOT_FOUND, f"there is no dataset {dataset_id}")
    content = new.text.encode()
    upload = upload_row(dataset, new.name, len(content))
    await service.platform.storage.write(upload.key, content)
    rule, document = document_rows(upload, dataset, await next_position(session, dataset.id))
    session.add_all((upload, rule, document))
    event_id = Outbox(session).publish(
        DocumentIndexRequested(tenant_id=dataset.tenant_id, dataset_id=dataset.id, document_id=document.id)
    )
    return Requested(id=document.id, event_id=event_id)


@app.get("/documents/{document_id}")
async def show_document(document_id: UUID, session: Transaction) -> Shown:
    """Its status is written by the workers, step by step."""
    document = await session.get(Document, str(document_id))
    if document is None:
        raise HTTPException(NOT_FOUND, f"there is no document {document_id}")
    return Shown(
        id=document.id,
        name=document.name,
        status=document.indexing_status,
        error=document.error,
        segments=await segments_of(session, document.id),
    )


@app.delete("/documents/{document_id}", status_code=ACCEPTED)
async def delete_document(document_id: UUID, session: Transaction) -> Requested:
    """The row goes with the event that says so; its segments, vectors and file are the clean-up's.

    The row is locked first, so that the events of one document go out in the order of what was done to it.
    """
    document = await session.get(Document, str(document_id), with_for_update=True)
    if document is None:
        raise HTTPException(NOT_FOUND, f"there is no document {document_id}")
    await session.delete(document)
    event_id = Outbox(session).publish(
        DocumentDeleted(
            tenant_id=document.tenant_id,
            document_id=document.id,
            dataset_id=document.dataset_id,
            doc_form=document.doc_form,
            file_id=file_of(document),
        )
    )
    return Requested(id=document.id, event_id=event_id)


@app.get("/datasets/{dataset_id}/passages")
async def find_passages(dataset_id: UUID, question: str, session: Transaction, service: TheService) -> list[Answer]:
    """The passages that fit a question, the best first."""
    try:
        found = await passages(session, service.platform, str(dataset_id), question, PASSAGES)
    except LookupError as error:
        raise HTTPException(NOT_FOUND, str(error)) from error
    return [Answer(document=one.document, text=one.text, score=round(one.score, 2)) for one in found]
