"""The images of a document become upload files, which its segments link to."""

from collections.abc import Sequence

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.extraction import Image
from streams.dify.files import IMAGE_FOLDER, image_mark
from streams.dify.models import Document, UploadFile, utc_now
from streams.dify.standing import lock_standing
from streams.storage import Storage


async def record_images(session: AsyncSession, dataset_id: str, document_id: str, images: Sequence[Image]) -> None:
    """Their rows, before their files: whatever happens then, clean-up finds the files by the rows.

    Raises Stopped where there is nothing (more) to do.
    """
    document = (await lock_standing(session, dataset_id, document_id)).document
    rows = [_row(document, image) for image in images]
    await session.execute(insert(UploadFile).values(rows).on_conflict_do_nothing(index_elements=[UploadFile.id]))


async def store_images(
    session: AsyncSession, storage: Storage, dataset_id: str, document_id: str, images: Sequence[Image]
) -> None:
    """Their files. The document cannot be deleted meanwhile, so no file comes after its clean-up. Raises Stopped."""
    document = (await lock_standing(session, dataset_id, document_id)).document
    for image in images:
        await storage.write(_key(document.tenant_id, image), image.content)


def _key(tenant_id: str, image: Image) -> str:
    return f"{IMAGE_FOLDER}{tenant_id}/{image.file_id}.{image.extension}"


def _row(document: Document, image: Image) -> dict[str, object]:
    now = utc_now()
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
        "created_at": now,
        "used": True,
        "used_by": document.created_by,
        "used_at": now,
        "source_url": image_mark(document.id),
    }
