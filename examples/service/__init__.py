"""A service on the platform's tables: it writes rows, and publishes events in the same transaction.

The workers do the work: indexing and clean-up. Run it with `uvicorn service:app`.
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
    """The resources of the process."""

    sessions: async_sessionmaker[AsyncSession]
    platform: Platform


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Service]]:
    """Create the resources. The settings are the pipeline's: STREAMS_DATABASE_URL, STREAMS_STORAGE_URL and so on."""
    settings = load_settings()
    engine = create_async_engine(database_url(settings), pool_pre_ping=True)
    yield {"service": Service(async_sessionmaker(engine, expire_on_commit=False), build_platform(settings))}
    await engine.dispose()


def the_service(request: Request) -> Service:
    """Return the resources that `lifespan` created."""
    return cast("Service", request.state.service)


async def transaction(service: Annotated[Service, Depends(the_service)]) -> AsyncIterator[AsyncSession]:
    """Open one transaction per request. An exception rolls it back, and the events that were published in it."""
    async with service.sessions.begin() as session:
        yield session


TheService = Annotated[Service, Depends(the_service)]
# `function`: it commits before the response is sent, so no client sees a result whose commit then fails.
Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]
app = FastAPI(title="Documents", lifespan=lifespan)


class NewDataset(BaseModel):
    """A new dataset; it gets its own tenant."""

    name: str


class NewDocument(BaseModel):
    """A file to index. Its name ends in .txt, .md or another supported extension."""

    name: str
    text: str


class Made(BaseModel):
    """The id of a new row."""

    id: str


class Requested(BaseModel):
    """A request to the workers: `streams executions show EVENT_ID` shows its outcome."""

    id: str
    event_id: UUID


class Shown(BaseModel):
    """The current state of a document."""

    id: str
    name: str
    status: str
    """waiting, parsing, splitting, indexing, completed or error."""
    error: str | None
    segments: int


class Answer(BaseModel):
    """A passage that matches a question."""

    document: str
    text: str
    score: float


@app.post("/datasets", status_code=201)
async def make_dataset(new: NewDataset, session: Transaction) -> Made:
    """Create a dataset. It needs no further work, so no event is published."""
    tenant, dataset = dataset_rows(new.name)
    session.add_all((tenant, dataset))
    return Made(id=dataset.id)


@app.post("/datasets/{dataset_id}/documents", status_code=ACCEPTED)
async def make_document(dataset_id: UUID, new: NewDocument, session: Transaction, service: TheService) -> Requested:
    """Store the file, then commit rows and event. A worker may read the file as soon as the commit is done."""
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
    """Return a document. The workers update its status."""
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
    """Delete the row and publish the event in one transaction. Clean-up deletes its segments, vectors and file.

    The row is locked first, so that the events of one document are published in the order of its changes.
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
    """Return the passages that match a question, best first."""
    try:
        found = await passages(session, service.platform, str(dataset_id), question, PASSAGES)
    except LookupError as error:
        raise HTTPException(NOT_FOUND, str(error)) from error
    return [Answer(document=one.document, text=one.text, score=round(one.score, 2)) for one in found]
