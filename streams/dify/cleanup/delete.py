"""Bounded removals, the parts of a clean-up's steps. Each says whether nothing of its kind is left.

Their statements take rows by indexes and in sets: a step costs what it removes, not what the tables hold. There is
more as long as as many rows went as may go at once: a row that cannot be removed ends the steps, never repeats them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import any_, delete, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.cleanup.leftovers import SEGMENTS, Scope
from streams.dify.errors import RefusedError
from streams.dify.ids import only_ids
from streams.dify.models import ChildChunk, Dataset, Document, DocumentSegment
from streams.dify.platform import Platform
from streams.dify.sources.reference import upload_file_id
from streams.dify.sql import affected
from streams.dify.uploads import files

ROWS_A_STEP = 10_000
"""Rows of a table that one step removes, and vectors with them."""
DOCUMENTS_A_STEP = 100
"""Documents that one step removes: each may have a file in the storage."""


@dataclass(slots=True)
class Step:
    """A bounded part of a clean-up, in one transaction."""

    session: AsyncSession
    platform: Platform
    scope: Scope
    removed: Counter[str] = field(default_factory=Counter)
    """How much of what it has removed."""
    done: bool = False
    """Nothing is left; otherwise another step has to follow."""


async def remove_segments(step: Step, collections: Sequence[str]) -> bool:
    """Some segments with their child chunks, which go first, and images; the vectors of both in the collections."""
    session = step.session
    of_scope = step.scope.rows(SEGMENTS)
    segment_ids = list(await session.scalars(select(DocumentSegment.id).where(of_scope).limit(ROWS_A_STEP)))
    if not segment_ids:
        return True
    # One array instead of a parameter a segment.
    these = any_(literal(segment_ids, ARRAY(DocumentSegment.id.type)))
    children = select(ChildChunk.id).where(ChildChunk.segment_id == these).limit(ROWS_A_STEP)
    gone = await session.scalars(
        delete(ChildChunk)
        .where(ChildChunk.id.in_(children))
        .returning(ChildChunk.index_node_id)
        .execution_options(synchronize_session=False)
    )
    if await _remove_nodes(step, collections, ChildChunk.__tablename__, gone.all()) == ROWS_A_STEP:
        return False
    images = await files.delete_linked_images(session, step.platform.storage, segment_ids)
    step.removed["images"] += images
    if images == files.FILES_A_STEP:
        return False
    gone = await session.scalars(
        delete(DocumentSegment)
        .where(DocumentSegment.id == these)
        .returning(DocumentSegment.index_node_id)
        .execution_options(synchronize_session=False)
    )
    return await _remove_nodes(step, collections, DocumentSegment.__tablename__, gone.all()) < ROWS_A_STEP


async def _remove_nodes(step: Step, collections: Sequence[str], table: str, nodes: Iterable[str | None]) -> int:
    """The vectors of rows that were removed just now; says how many rows that were."""
    rows = list(nodes)
    step.removed[table] += len(rows)
    # A store has no entry under an id that is no UUID.
    known = only_ids(node for node in rows if node is not None) if collections else []
    for collection in collections:
        step.removed["vectors"] += await step.platform.vectors.delete_nodes(step.session, collection, known)
    return len(rows)


async def remove_vectors(step: Step, collections: Sequence[str], document_id: str) -> None:
    """Those of a document that no row knows: its rows went without them."""
    for collection in collections:
        removed = await step.platform.vectors.delete_document(step.session, collection, document_id)
        step.removed["vectors"] += removed


async def remove_rows(step: Step) -> bool:
    """Some rows of each table that hangs on the scope by its ids alone."""
    emptied = True
    for table in step.scope.tables:
        key = list(table.primary_key.columns)
        some = select(*key).where(step.scope.rows(table)).limit(ROWS_A_STEP)
        count = await affected(step.session, delete(table).where(tuple_(*key).in_(some)))
        step.removed[table.name] += count
        emptied = emptied and count < ROWS_A_STEP
    return emptied


async def remove_own_files(step: Step, document_id: str, file_id: str | None) -> bool:
    """Images that extraction found in a document, also where no segment shows them; with the last the source file."""
    session, storage, tenant_id = step.session, step.platform.storage, step.scope.tenant_id
    images = await files.delete_images_of(session, storage, document_id, tenant_id)
    step.removed["images"] += images
    if images == files.FILES_A_STEP:
        return False
    if file_id is not None:
        step.removed["files"] += await files.delete_files(session, storage, [file_id], tenant_id)
    return True


async def remove_documents(step: Step) -> bool:
    """Some documents of a dataset with their source files; before them the images that extraction found in any."""
    session, storage, dataset_id = step.session, step.platform.storage, step.scope.dataset_id
    images = await files.delete_images_of_dataset(session, storage, dataset_id, step.scope.tenant_id)
    step.removed["images"] += images
    if images == files.FILES_A_STEP:
        return False
    found = await session.execute(
        select(Document.id, Document.tenant_id, Document.data_source_type, Document.data_source_info)
        .where(Document.dataset_id == dataset_id)
        .limit(DOCUMENTS_A_STEP)
    )
    documents = found.all()
    of_tenants: dict[str, set[str]] = {}
    for _, tenant_id, source_type, source_info in documents:
        file_id = _source_file(source_type, source_info)
        if file_id is not None:
            of_tenants.setdefault(tenant_id, set()).add(file_id)
    for tenant_id, file_ids in of_tenants.items():
        step.removed["files"] += await files.delete_files(session, storage, file_ids, tenant_id)
    ids = [document_id for document_id, *_ in documents]
    removed = await affected(session, delete(Document).where(Document.id.in_(ids)))
    step.removed[Document.__tablename__] += removed
    return removed < DOCUMENTS_A_STEP


@dataclass(frozen=True, slots=True)
class RemovedDocument:
    """What its clean-up has to know of a document whose row is removed here."""

    document_id: str
    tenant_id: str
    doc_form: str
    file_id: str | None


async def remove_document_rows(
    session: AsyncSession, dataset_id: str, document_ids: Iterable[str], tenant_id: str | None
) -> list[RemovedDocument]:
    """The rows of those documents that the dataset (and the tenant, where one is given) has.

    Waits for the steps of their indexing. Locked in the order of such a step, the dataset before the documents, and
    these by their ids: so nobody waits for what waits for him.
    """
    await session.execute(select(Dataset.id).where(Dataset.id == dataset_id).with_for_update(read=True, key_share=True))
    query = select(
        Document.id, Document.tenant_id, Document.doc_form, Document.data_source_type, Document.data_source_info
    )
    query = query.where(Document.id.in_(document_ids), Document.dataset_id == dataset_id)
    if tenant_id is not None:
        query = query.where(Document.tenant_id == tenant_id)
    found = (await session.execute(query.order_by(Document.id).with_for_update())).all()
    await session.execute(delete(Document).where(Document.id.in_([document_id for document_id, *_ in found])))
    return [
        RemovedDocument(document_id, owner, form, _source_file(source_type, source_info))
        for document_id, owner, form, source_type, source_info in found
    ]


def _source_file(data_source_type: str, data_source_info: str | None) -> str | None:
    """The upload file to remove with a document; other sources, and rows that name no file, have none."""
    try:
        return upload_file_id(data_source_type, data_source_info)
    except RefusedError:
        return None
