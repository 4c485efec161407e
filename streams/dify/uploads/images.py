"""The images of a document become upload files, which its segments link to."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, hold
from streams.dify.extraction import Image
from streams.dify.models import Document, UploadFile, utc_now
from streams.dify.uploads.files import IMAGE_FOLDER, delete_images, image_mark
from streams.storage import Storage

REMOVED_AT_ONCE = 50
"""Images that one step removes: its transaction is open meanwhile."""


async def record_images(session: AsyncSession, generation: IndexingRun, images: Sequence[Image]) -> None:
    """Their rows, before their files: whatever happens then, clean-up finds the files by the rows.

    Their used_at is the start of the indexing that found them last. Raises Stopped where there is nothing (more) to do.
    """
    document = (await hold(session, generation)).document
    new = insert(UploadFile).values([_row(document, generation, image) for image in images])
    await session.execute(
        new.on_conflict_do_update(index_elements=[UploadFile.id], set_={"used_at": generation.started_at})
    )


async def store_images(
    session: AsyncSession, storage: Storage, generation: IndexingRun, images: Sequence[Image]
) -> None:
    """Their files. The document cannot be deleted meanwhile, so no file comes after its clean-up. Raises Stopped."""
    document = (await hold(session, generation)).document
    for image in images:
        await storage.write(_key(document.tenant_id, image), image.content)


async def delete_former_images(session: AsyncSession, storage: Storage, generation: IndexingRun) -> bool:
    """Some images of an indexing before this one, which no segment shows any more. True: there may be more."""
    file_ids = list(
        await session.scalars(
            select(UploadFile.id)
            .where(
                UploadFile.source_url == image_mark(generation.document_id),
                UploadFile.tenant_id == generation.tenant_id,
                UploadFile.used_at.is_distinct_from(generation.started_at),
            )
            .limit(REMOVED_AT_ONCE)
        )
    )
    await delete_images(session, storage, file_ids, generation.tenant_id)
    return len(file_ids) == REMOVED_AT_ONCE


def _key(tenant_id: str, image: Image) -> str:
    return f"{IMAGE_FOLDER}{tenant_id}/{image.file_id}.{image.extension}"


def _row(document: Document, generation: IndexingRun, image: Image) -> dict[str, object]:
    return {
        "id": image.file_id,
        "tenant_id": document.tenant_id,
        "storage_type": "local",
        "key": _key(document.tenant_id, image),
        "name": f"{image.file_id}.{image.extension}",
        "size": len(image.content),
        "extension": image.extension,
        "mime_type": image.mime_type,
        "created_by_role": "account",
        "created_by": document.created_by,
        "created_at": utc_now(),
        "used": True,
        "used_by": document.created_by,
        "used_at": generation.started_at,
        "source_url": image_mark(document.id),
    }
