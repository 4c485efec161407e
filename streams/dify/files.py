"""Upload files and images: their rows and what lies in the storage."""

import re
from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import UploadFile
from streams.storage import Storage

IMAGE_FOLDER = "image_files/"
"""Where extraction puts the images that it finds in a document."""
_IMAGE = re.compile(
    r"/files/(?P<id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(?:file|image)-preview", flags=re.IGNORECASE
)


def image_mark(document_id: str) -> str:
    """What the source_url of an image says: the document that it was found in, whatever its segments link to."""
    return f"document:{document_id}"


def images_in(text: str) -> set[str]:
    """The upload files that a segment's text shows as images."""
    return {match["id"].lower() for match in _IMAGE.finditer(text)}


async def delete_files(
    session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str | None
) -> int:
    """Remove files of a tenant (None: of any) from the storage, then their rows; says how many rows there were.

    A rollback brings back the rows but not the files: the repeat then finds nothing to remove there, which is fine.
    """
    return await _delete(session, storage, file_ids, tenant_id, folder="")


async def delete_images(session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str) -> int:
    """Like `delete_files`, but only what extraction itself has made: a text may link to any file."""
    return await _delete(session, storage, file_ids, tenant_id, folder=IMAGE_FOLDER)


async def delete_images_of(
    session: AsyncSession, storage: Storage, document_ids: Collection[str], tenant_id: str | None
) -> int:
    """The images that extraction found in the documents of a tenant (None: of any), also where no segment is left."""
    query = select(UploadFile.id).where(UploadFile.source_url.in_([image_mark(each) for each in document_ids]))
    if tenant_id is not None:
        query = query.where(UploadFile.tenant_id == tenant_id)
    file_ids = list(await session.scalars(query))
    return await _delete(session, storage, file_ids, tenant_id, folder=IMAGE_FOLDER)


async def _delete(
    session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str | None, folder: str
) -> int:
    if not file_ids:
        return 0
    query = select(UploadFile.id, UploadFile.key).where(
        UploadFile.id.in_(file_ids), UploadFile.key.startswith(folder, autoescape=True)
    )
    if tenant_id is not None:
        query = query.where(UploadFile.tenant_id == tenant_id)
    found = (await session.execute(query)).all()
    for _, key in found:
        await storage.delete(key)
    await session.execute(delete(UploadFile).where(UploadFile.id.in_([file_id for file_id, _ in found])))
    return len(found)
