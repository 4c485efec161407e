"""Upload files and images: their rows and what lies in the storage."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, delete, func, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import Document, UploadFile
from streams.dify.sql import affected
from streams.storage import Storage

IMAGE_FOLDER = "image_files/"
"""Where extraction puts the images that it finds in a document."""
FILES_A_STEP = 100
"""Files that one step removes: each is a call of the storage, and the transaction is open meanwhile."""
_IS_IMAGE = UploadFile.key.startswith(IMAGE_FOLDER, autoescape=True)
_MARK = "document:"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LINK = rf"/files/({_UUID})/(?:file|image)-preview"
_LINKED = text(
    """
    select file.id, file.key
    from (
        select distinct segment.tenant_id, cast(link[1] as uuid) as file_id
        from document_segments as segment, regexp_matches(segment.content, :link, 'gi') as link
        where segment.id = any(cast(:segment_ids as uuid[])) and segment.content like '%-preview%'
    ) as linked
    join upload_files as file on file.id = linked.file_id and file.tenant_id = linked.tenant_id
    where starts_with(file.key, :folder) and not exists (
        select from documents as owner
        where owner.id = cast(substring(file.source_url from :mark) as uuid)
    )
    order by file.id limit :most for update of file
    """
)


def image_mark(document_id: str) -> str:
    """What the source_url of an image says: the document that it was found in, whatever its segments link to."""
    return f"{_MARK}{document_id}"


def file_of(file_id: str | None, tenant_id: str | None) -> ColumnElement[bool]:
    """A file of a tenant (None: of any)."""
    return (UploadFile.id == file_id) & _of_tenant(tenant_id)


def images_of(document_id: str, tenant_id: str | None) -> ColumnElement[bool]:
    """The images of a tenant (None: of any) that extraction found in a document."""
    return (UploadFile.source_url == image_mark(document_id)) & _IS_IMAGE & _of_tenant(tenant_id)


async def delete_files(
    session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str | None
) -> int:
    """Remove files of a tenant (None: of any) from the storage, then their rows; says how many rows there were.

    A rollback brings back the rows but not the files: the repeat then finds nothing to remove there, which is fine.
    """
    return await _delete(session, storage, UploadFile.id.in_(file_ids) & _of_tenant(tenant_id)) if file_ids else 0


async def delete_images(session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str) -> int:
    """Like `delete_files`, but only what extraction itself has made."""
    those = UploadFile.id.in_(file_ids) & _IS_IMAGE & _of_tenant(tenant_id)
    return await _delete(session, storage, those) if file_ids else 0


async def delete_linked_images(session: AsyncSession, storage: Storage, segment_ids: Collection[str]) -> int:
    """Some of the images of their tenant that segments show; says how many, `FILES_A_STEP` at most.

    A text may link to any file: only what extraction itself has made goes, and not what it has found in a document
    that is still there. The texts stay in the database: that of a full-doc parent may be as large as its document.
    """
    asked = {
        "segment_ids": list(segment_ids),
        "link": _LINK,
        "folder": IMAGE_FOLDER,
        "mark": f"^{_MARK}({_UUID})$",
        "most": FILES_A_STEP,
    }
    found = await session.execute(_LINKED, asked)
    return await _remove(session, storage, [(str(file_id), key) for file_id, key in found])


async def delete_images_of(session: AsyncSession, storage: Storage, document_id: str, tenant_id: str | None) -> int:
    """Some of the images that extraction found in a document, also those that no segment shows; says how many."""
    return await _delete(session, storage, images_of(document_id, tenant_id), FILES_A_STEP)


async def delete_images_of_dataset(
    session: AsyncSession, storage: Storage, dataset_id: str, tenant_id: str | None
) -> int:
    """The same for all documents of a dataset whose rows are there."""
    marks = select(func.concat(_MARK, Document.id)).where(Document.dataset_id == dataset_id)
    those = UploadFile.source_url.in_(marks) & _IS_IMAGE & _of_tenant(tenant_id)
    return await _delete(session, storage, those, FILES_A_STEP)


def _of_tenant(tenant_id: str | None) -> ColumnElement[bool]:
    return true() if tenant_id is None else UploadFile.tenant_id == tenant_id


async def _delete(session: AsyncSession, storage: Storage, which: ColumnElement[bool], most: int | None = None) -> int:
    # In one order everywhere, so that no two clean-ups wait for each other.
    query = select(UploadFile.id, UploadFile.key).where(which).order_by(UploadFile.id).limit(most).with_for_update()
    return await _remove(session, storage, [(file_id, key) for file_id, key in await session.execute(query)])


async def _remove(session: AsyncSession, storage: Storage, found: Sequence[tuple[str, str]]) -> int:
    for _, key in found:
        await storage.delete(key)
    return await affected(session, delete(UploadFile).where(UploadFile.id.in_([file_id for file_id, _ in found])))
