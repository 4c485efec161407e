"""What the tests of changed indexes need: a site with Redis, and what the index of a document has."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select, text, update

from streams.agents.knowledge.document_indexing import index_document
from streams.dify.models import ChildChunk, Dataset, DatasetKeywordTable, Document, DocumentSegment, utc_now
from streams.settings import Settings
from tests.support.platform.handler_runs import Site, open_site
from tests.support.platform.indexing_snapshots import KINDS, Kind


@dataclass(frozen=True)
class Place:
    """A tenant's site, and the platform's Redis."""

    site: Site
    redis: Redis

    async def indexed(self, kind: str = "text", **columns: object) -> tuple[Dataset, Document]:
        """Return a dataset and an indexed document of a kind."""
        chosen: Kind = KINDS[kind]
        dataset = await self.site.add_dataset(indexing_technique=chosen.technique)
        return dataset, await self.another(dataset, kind, **columns)

    async def another(self, dataset: Dataset, kind: str = "text", **columns: object) -> Document:
        """Return an indexed document of an existing dataset."""
        chosen = KINDS[kind]
        document = await self.site.add_document(
            dataset, chosen.content, name=chosen.file, **{**chosen.columns, **columns}
        )
        await self.site.run(index_document, self.site.request(document))
        return await self.site.document(document.id)

    async def nodes(self, document: Document) -> set[str]:
        """Return the ids of a document's entries in the index: vectors, and nodes of the keyword table."""
        table = f"embedding_vector_index_{document.dataset_id.replace('-', '_')}_node"[:63]
        async with self.site.transaction() as session:
            found: set[str] = set()
            if await session.scalar(text("select to_regclass(:name)"), {"name": table}) is not None:
                query = text(f"select id::text from {table} where meta->>'document_id' = :id")
                found = set(await session.scalars(query, {"id": document.id}))
            keyword_table = await session.scalar(
                select(DatasetKeywordTable.keyword_table).where(DatasetKeywordTable.dataset_id == document.dataset_id)
            )
            own = set(
                await session.scalars(
                    select(DocumentSegment.index_node_id).where(DocumentSegment.document_id == document.id)
                )
            )
        entries = json.loads(keyword_table)["__data__"]["table"].values() if keyword_table else ()
        return found | ({node for nodes in entries for node in nodes} & own)

    async def wanted(self, document: Document) -> set[str]:
        """Return the node ids that the rows ask for: of enabled segments, or of their child chunks."""
        segments = [one for one in await self.site.segments(document.id) if one.enabled and one.status == "completed"]
        if document.doc_form != "hierarchical_model" or await self._economy(document):
            return {one.index_node_id or "" for one in segments}
        async with self.site.transaction() as session:
            children = await session.scalars(
                select(ChildChunk.index_node_id).where(ChildChunk.segment_id.in_([one.id for one in segments]))
            )
            return {node or "" for node in children}

    async def _economy(self, document: Document) -> bool:
        async with self.site.transaction() as session:
            return (await session.get_one(Dataset, document.dataset_id)).indexing_technique == "economy"

    async def set_document(self, document: Document, **columns: object) -> None:
        """Change a document as the platform's API does, in a transaction of its own."""
        async with self.site.transaction() as session:
            await session.execute(update(Document).where(Document.id == document.id).values(**columns))

    async def set_dataset(self, dataset: Dataset, **columns: object) -> None:
        """Change a dataset as the platform's API does."""
        async with self.site.transaction() as session:
            await session.execute(update(Dataset).where(Dataset.id == dataset.id).values(**columns))

    async def disable_segment(self, segment: DocumentSegment, person: str) -> None:
        """Disable a segment as a person does."""
        async with self.site.transaction() as session:
            await session.execute(
                update(DocumentSegment)
                .where(DocumentSegment.id == segment.id)
                .values(enabled=False, disabled_at=utc_now(), disabled_by=person)
            )

    async def drop_index(self, dataset: Dataset) -> None:
        """Drop the index of a dataset and keep its rows, as the clean-up of unused datasets does."""
        async with self.site.transaction() as session:
            await self.site.platform.vectors.drop(session, self.site.collection(dataset.id), dataset.id, shared=False)
            await session.execute(
                update(DatasetKeywordTable)
                .where(DatasetKeywordTable.dataset_id == dataset.id)
                .values(keyword_table=json.dumps({"__type__": "keyword_table", "__data__": {"table": {}}}))
            )


def cases(metafunc: pytest.Metafunc, **parameters: Sequence[str]) -> None:
    """Parametrise the tests of a module that have one of these parameters."""
    for name, values in parameters.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values)


@asynccontextmanager
async def open_place(settings: Settings, folder: Path) -> AsyncIterator[Place]:
    """Create a tenant on the test's servers."""
    url = settings.redis_url.get_secret_value()
    async with open_site(settings.database_url.get_secret_value(), folder, redis_url=url) as site:
        with Redis.from_url(url, decode_responses=True) as redis:
            yield Place(site, redis)
