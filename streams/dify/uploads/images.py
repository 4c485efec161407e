"""Stores the images of a document as upload files, which its segments link to."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.document_lock import IndexingRun, lock_for_run
from streams.dify.extraction.result import IMAGE_TYPES
from streams.dify.indexing.prepare import PreparedImage, PrepareRequest
from streams.dify.models import Document, UploadFile, utc_now
from streams.dify.uploads.files import IMAGE_FOLDER, delete_images, image_source_url
from streams.storage import Storage

REMOVE_BATCH = 50
"""The number of images that one step deletes. Its transaction is open during that time."""


async def record_images(session: AsyncSession, run: IndexingRun, images: Sequence[PreparedImage]) -> None:
    """Write the rows of images, before their files. So a clean-up finds every file by its row.

    used_at is the start of the last indexing that found the image. Raises Stopped if there is nothing (more) to do.
    """
    document = (await lock_for_run(session, run)).document
    new = insert(UploadFile).values([_row(document, run, image) for image in images])
    await session.execute(new.on_conflict_do_update(index_elements=[UploadFile.id], set_={"used_at": run.started_at}))


async def store_images(
    session: AsyncSession, storage: Storage, run: IndexingRun, images: Sequence[PreparedImage], request: PrepareRequest
) -> None:
    """Write the files of images from the attempt's folder. The locks prevent a deletion meanwhile. Raises Stopped."""
    document = (await lock_for_run(session, run)).document
    for image in images:
        content = await asyncio.to_thread(request.image(image.file_id).read_bytes)
        await storage.write(_key(document.tenant_id, image), content)


async def delete_previous_images(session: AsyncSession, storage: Storage, run: IndexingRun) -> bool:
    """Delete some images of a previous indexing, which no segment shows. Returns True if there may be more."""
    file_ids = list(
        await session.scalars(
            select(UploadFile.id)
            .where(
                UploadFile.source_url == image_source_url(run.document_id),
                UploadFile.tenant_id == run.tenant_id,
                UploadFile.used_at.is_distinct_from(run.started_at),
            )
            .limit(REMOVE_BATCH)
        )
    )
    await delete_images(session, storage, file_ids, run.tenant_id)
    return len(file_ids) == REMOVE_BATCH


def _key(tenant_id: str, image: PreparedImage) -> str:
    return f"{IMAGE_FOLDER}{tenant_id}/{image.file_id}.{image.extension}"


def _row(document: Document, run: IndexingRun, image: PreparedImage) -> dict[str, object]:
    return {
        "id": image.file_id,
        "tenant_id": document.tenant_id,
        "storage_type": "local",
        "key": _key(document.tenant_id, image),
        "name": f"{image.file_id}.{image.extension}",
        "size": image.size,
        "extension": image.extension,
        "mime_type": IMAGE_TYPES[image.extension],
        "created_by_role": "account",
        "created_by": document.created_by,
        "created_at": utc_now(),
        "used": True,
        "used_by": document.created_by,
        "used_at": run.started_at,
        "source_url": image_source_url(document.id),
    }
