"""Runs handlers directly on a real database, storage and vector index, without Kafka and without the engine."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID, uuid4

from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from schemas import DatasetDeleted, DocumentDeleted, DocumentIndexRequested, Event
from streams.agents.workspace.coordination_keys import forget_collections, report_job_end
from streams.codec import Codec, build_codec
from streams.database import Database
from streams.database.tables import outbox
from streams.delivery.handler import JSON, Handler
from streams.delivery.process_pool.plain_data import (
    Request,
    decode_answer,
    decode_request,
    encode_request,
    encode_result,
)
from streams.dify.models import Dataset, DatasetProcessRule, Document, DocumentSegment, Model, UploadFile
from streams.dify.platform import Platform, build_platform
from streams.publishing.outbox.outbox import Outbox
from streams.settings import Settings
from streams.storage import Folder, InThreads
from streams.topics import load_catalogue

T = TypeVar("T")
P = ParamSpec("P")
Between = Callable[[int], Awaitable[None]]
FOLLOWING: Mapping[str, Handler[Any]] = {"job.ended": report_job_end, "collections.dropped": forget_collections}
"""The handlers that update the platform's keys in Redis after a commit, by topic without the prefix."""


class CrashError(BaseException):
    """Simulates SIGKILL: no handler may catch it."""


@dataclass
class DirectWork:
    """One attempt. `after_step` is called after each commit with the number of the step (starting at 1)."""

    site: "Site"
    open_session: AsyncSession | None = None
    after_step: Between | None = None
    before_commit: Between | None = None
    attempt: int = 1
    deadline: datetime = field(default_factory=lambda: datetime.now(tz=UTC) + timedelta(minutes=1))
    steps: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def session(self) -> AsyncSession:
        assert self.open_session is not None, "no transaction is open"
        return self.open_session

    @asynccontextmanager
    async def step(self, *, final: bool = False) -> AsyncIterator[AsyncSession]:
        assert self.open_session is None, f"a step within a step (final={final})"
        async with self.site.transaction() as session:
            self.open_session = session
            try:
                yield session
            finally:
                self.open_session = None
            if self.before_commit is not None:
                await self.before_commit(self.steps + 1)
        self.steps += 1
        if self.after_step is not None:
            await self.after_step(self.steps)

    def warn(self, warnings: Sequence[str]) -> None:
        self.warnings = tuple(warnings)

    async def publish(self, event: Event, at: datetime | None = None, expires_at: datetime | None = None) -> UUID:
        return Outbox(self.session, self.site.codec).publish(event, at, expires_at)

    async def heartbeat(self) -> None:
        """Do nothing: there is no lease."""

    async def compute(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        assert self.open_session is None, f"{function.__name__} holds a transaction open"
        sent, arguments, named, _ = decode_request(encode_request(Request(function, args, kwargs)))
        found = await asyncio.to_thread(sent, *arguments, **named)
        return cast("T", decode_answer(function, encode_result(function, found)))

    async def compute_within(
        self, processor_seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        assert processor_seconds > 0
        return await self.compute(function, *args, **kwargs)

    def use(self, kind: type[T]) -> T:
        assert isinstance(self.site.platform, kind)
        return self.site.platform


@dataclass(frozen=True)
class Site:
    """A tenant with rows, files and vectors."""

    database: Database
    platform: Platform
    codec: Codec
    tenant_id: str

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self.database.effects, expire_on_commit=False) as session, session.begin():
            await session.execute(text("set local lock_timeout = '10s'"))
            yield session

    async def run(
        self,
        handler: Handler[Any],
        event: Event,
        *,
        after_step: Between | None = None,
        before_commit: Between | None = None,
    ) -> JSON:
        """Run a long or single handler and commit its effect as the engine does. The keys in Redis follow at once."""
        result = await self.commit(handler, event, after_step=after_step, before_commit=before_commit)
        await self.update_keys()
        return result

    async def commit(
        self,
        handler: Handler[Any],
        event: Event,
        *,
        after_step: Between | None = None,
        before_commit: Between | None = None,
    ) -> JSON:
        """Run a long or single handler and commit its effect. Its events about keys in Redis wait in the outbox."""
        if handler.kind == "long":
            work = DirectWork(self, after_step=after_step, before_commit=before_commit)
            return await handler.function(event, work)
        async with self.transaction() as session:
            return await handler.function(event, DirectWork(self, session))

    async def update_keys(self) -> int:
        """Handle the committed events about keys in Redis. Returns their number. All other events stay."""
        async with self.transaction() as session:
            found = await session.execute(select(outbox.c.id, outbox.c.topic, outbox.c.value).order_by(outbox.c.id))
            rows = [(row, handler) for row in found for name, handler in FOLLOWING.items() if row.topic.endswith(name)]
            for (id_, topic, value), handler in rows:
                await handler.function(self.codec.decode(topic, value), DirectWork(self, session))
                await session.execute(outbox.delete().where(outbox.c.id == id_))
        return len(rows)

    async def crashes(self, handler: Handler[Any], event: Event, after: int) -> bool:
        """Crash after the given step. Returns False if the work was done in fewer steps."""

        async def kill(step: int) -> None:
            if step == after:
                raise CrashError

        try:
            await self.run(handler, event, after_step=kill)
        except CrashError:
            return True
        return False

    async def run_batch(self, handler: Handler[Any], events: Sequence[Event]) -> JSON:
        async with self.transaction() as session:
            return await handler.function(list(events), DirectWork(self, session))

    async def die(self, handler: Handler[Any], event: Event, error: BaseException) -> None:
        """Do what the engine does with a dead letter."""
        assert handler.on_dead is not None
        async with self.transaction() as session:
            await handler.on_dead(event, DirectWork(self, session), error)
        await self.update_keys()

    async def published(self) -> list[Event]:
        """Return the committed events of the outbox, oldest first, and delete them."""
        async with self.transaction() as session:
            rows = (await session.execute(select(outbox.c.topic, outbox.c.value).order_by(outbox.c.id))).all()
            await session.execute(outbox.delete())
        return [self.codec.decode(topic, value) for topic, value in rows]

    async def add(self, *rows: Model) -> None:
        async with self.transaction() as session:
            session.add_all(rows)

    async def add_dataset(self, **columns: object) -> Dataset:
        known: dict[str, object] = {
            "id": str(uuid4()),
            "tenant_id": self.tenant_id,
            "name": "handbook",
            "indexing_technique": "high_quality",
            "created_by": str(uuid4()),
        }
        dataset = Dataset(**{**known, **columns})
        await self.add(dataset)
        return dataset

    async def add_document(
        self,
        dataset: Dataset,
        content: bytes | None,
        *,
        name: str = "page.txt",
        mode: str = "automatic",
        rules: Mapping[str, object] | None = None,
        **columns: object,
    ) -> Document:
        """Add a waiting document as the platform's upload does. `content` None: the file is not in the storage."""
        file_id, rule_id = str(uuid4()), str(uuid4())
        extension = name.rsplit(".", 1)[-1]
        key = f"upload_files/{self.tenant_id}/{file_id}.{extension}"
        if content is not None:
            await self.platform.storage.write(key, content)
        file = UploadFile(
            id=file_id,
            tenant_id=self.tenant_id,
            storage_type="local",
            key=key,
            name=name,
            size=len(content or b""),
            extension=extension,
            created_by=dataset.created_by,
        )
        rule = DatasetProcessRule(
            id=rule_id,
            dataset_id=dataset.id,
            mode=mode,
            rules=json.dumps(rules) if rules is not None else None,
            created_by=dataset.created_by,
        )
        known: dict[str, object] = {
            "id": str(uuid4()),
            "tenant_id": self.tenant_id,
            "dataset_id": dataset.id,
            "position": 1,
            "data_source_type": "upload_file",
            "data_source_info": f'{{"upload_file_id": "{file_id}"}}',
            "dataset_process_rule_id": rule_id,
            "batch": "20261101120000123456",
            "name": name,
            "created_from": "web",
            "created_by": dataset.created_by,
        }
        document = Document(**{**known, **columns})
        await self.add(file, rule, document)
        return document

    async def document(self, document_id: str) -> Document:
        async with self.transaction() as session:
            return await session.get_one(Document, document_id)

    async def segments(self, document_id: str) -> list[DocumentSegment]:
        query = select(DocumentSegment).where(DocumentSegment.document_id == document_id)
        async with self.transaction() as session:
            return list(await session.scalars(query.order_by(DocumentSegment.position)))

    async def count(self, model: type[Model], **columns: object) -> int:
        async with self.transaction() as session:
            return await session.scalar(select(func.count()).select_from(model).filter_by(**columns)) or 0

    async def delete(self, model: type[Model], **columns: object) -> None:
        async with self.transaction() as session:
            await session.execute(delete(model).filter_by(**columns))

    def collection(self, dataset_id: str) -> str:
        return self.platform.collection(dataset_id, None)

    async def vectors(self, dataset_id: str) -> int:
        async with self.transaction() as session:
            return await self.platform.vectors.count(session, self.collection(dataset_id))

    def request(self, document: Document) -> DocumentIndexRequested:
        return DocumentIndexRequested(tenant_id=self.tenant_id, dataset_id=document.dataset_id, document_id=document.id)

    def document_deleted(self, document: Document, file_id: str | None = None) -> DocumentDeleted:
        return DocumentDeleted(
            tenant_id=self.tenant_id,
            document_id=document.id,
            dataset_id=document.dataset_id,
            doc_form=document.doc_form,
            file_id=file_id,
        )

    def dataset_deleted(self, dataset: Dataset) -> DatasetDeleted:
        return DatasetDeleted(tenant_id=self.tenant_id, dataset_id=dataset.id, pipeline_id=dataset.pipeline_id)


@asynccontextmanager
async def open_site(database_url: str, folder: Path, **more: object) -> AsyncIterator[Site]:
    """Create a tenant in the given database with files in the given folder."""
    settings = Settings.model_validate({"database_url": database_url, "storage_url": f"file:{folder}", **more})
    database = Database(settings)
    catalogue = load_catalogue(settings)
    try:
        yield Site(database, build_platform(settings), build_codec(settings, catalogue), str(uuid4()))
    finally:
        await database.dispose()


def prose(paragraphs: int) -> bytes:
    """Return a text that splits into many different segments."""
    return "\n\n".join(
        f"Paragraph {number} tells about room {number * 7}. "
        + f"The door of room {number * 7} is open on day {number}. " * 6
        for number in range(1, paragraphs + 1)
    ).encode()


def storage_folder(site: Site) -> Path:
    """Return the folder of the site's storage."""
    storage = site.platform.storage
    assert isinstance(storage, InThreads)
    assert isinstance(storage.store, Folder)
    return storage.store.folder
