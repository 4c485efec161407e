"""Deletes upload files and images: their rows and their files in the storage."""

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, delete, exists, func, select, text, true
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import App, Dataset, Document, UploadFile
from streams.dify.sql import affected_rows
from streams.dify.tenancy import in_own_folder
from streams.storage import Storage

IMAGE_FOLDER = "image_files/"
"""The folder of extracted images in the storage."""
FILES_PER_STEP = 100
"""The number of files that one step deletes. Each needs a storage call while the transaction is open."""
_IS_IMAGE = UploadFile.key.startswith(IMAGE_FOLDER, autoescape=True)
_SOURCE_PREFIX = "document:"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_LINK = rf"/files/({_UUID})/(?:file|image)-preview"
_LINKED = text(
    """
    select file.id, file.tenant_id, file.key
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
    order by file.id limit :limit for update of file
    """
)


def image_source_url(document_id: str) -> str:
    """Return the source_url of an extracted image. It names the image's document, whatever segments link to."""
    return f"{_SOURCE_PREFIX}{document_id}"


def file_of(file_id: str | None, tenant_id: str | None) -> ColumnElement[bool]:
    """Return a condition for a file of a tenant (None: of a tenant that has nothing else)."""
    return (UploadFile.id == file_id) & _named_files(tenant_id)


def images_of(document_id: str, tenant_id: str | None) -> ColumnElement[bool]:
    """Return a condition for the extracted images of a document of a tenant (None: of any tenant)."""
    return (UploadFile.source_url == image_source_url(document_id)) & _IS_IMAGE & _of_tenant(tenant_id)


async def delete_files(
    session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str | None
) -> int:
    """Delete files of a tenant from the storage, then their rows. Returns the number of rows.

    If the tenant is unknown (None), the ids alone are no evidence. Then only files of tenants without a dataset and an
    app are deleted. A rollback restores the rows but not the files. The repeated deletion then finds no files, which is
    no error.
    """
    return await _delete(session, storage, UploadFile.id.in_(file_ids) & _named_files(tenant_id)) if file_ids else 0


async def count_foreign(session: AsyncSession, file_ids: Collection[str], tenant_id: str | None) -> int:
    """Return the number of named files that exist and that `delete_files` does not delete."""
    named = UploadFile.id.in_(file_ids)
    query = select(func.count()).select_from(UploadFile).where(named, ~_named_files(tenant_id))
    return await session.scalar(query) or 0 if file_ids else 0


async def delete_images(session: AsyncSession, storage: Storage, file_ids: Collection[str], tenant_id: str) -> int:
    """Delete files as `delete_files` does, but only extracted images."""
    condition = UploadFile.id.in_(file_ids) & _IS_IMAGE & _of_tenant(tenant_id)
    return await _delete(session, storage, condition) if file_ids else 0


async def delete_linked_images(session: AsyncSession, storage: Storage, segment_ids: Collection[str]) -> int:
    """Delete some images that segments show, of the same tenant. Returns their number, at most `FILES_PER_STEP`.

    A text may link to any file. So only extracted images are deleted, and only if their document no longer exists. The
    texts are searched in the database: the text of a full-doc parent may be as large as its document.
    """
    parameters = {
        "segment_ids": list(segment_ids),
        "link": _LINK,
        "folder": IMAGE_FOLDER,
        "mark": f"^{_SOURCE_PREFIX}({_UUID})$",
        "limit": FILES_PER_STEP,
    }
    found = await session.execute(_LINKED, parameters)
    return await _remove(session, storage, [(str(file_id), str(tenant_id), key) for file_id, tenant_id, key in found])


async def delete_images_of(session: AsyncSession, storage: Storage, document_id: str, tenant_id: str | None) -> int:
    """Delete some extracted images of a document, also images that no segment shows. Returns their number."""
    return await _delete(session, storage, images_of(document_id, tenant_id), FILES_PER_STEP)


async def delete_images_of_dataset(
    session: AsyncSession, storage: Storage, dataset_id: str, tenant_id: str | None
) -> int:
    """Delete some extracted images of all documents of a dataset whose rows exist. Returns their number."""
    marks = select(func.concat(_SOURCE_PREFIX, Document.id)).where(Document.dataset_id == dataset_id)
    condition = UploadFile.source_url.in_(marks) & _IS_IMAGE & _of_tenant(tenant_id)
    return await _delete(session, storage, condition, FILES_PER_STEP)


def _of_tenant(tenant_id: str | None) -> ColumnElement[bool]:
    return true() if tenant_id is None else UploadFile.tenant_id == tenant_id


def _named_files(tenant_id: str | None) -> ColumnElement[bool]:
    if tenant_id is not None:
        return UploadFile.tenant_id == tenant_id
    has_dataset = exists().where(Dataset.tenant_id == UploadFile.tenant_id)
    return ~has_dataset & ~exists().where(App.tenant_id == UploadFile.tenant_id)


async def _delete(session: AsyncSession, storage: Storage, which: ColumnElement[bool], limit: int | None = None) -> int:
    # One order everywhere, so that two clean-ups do not deadlock.
    query = select(UploadFile.id, UploadFile.tenant_id, UploadFile.key).where(which)
    query = query.order_by(UploadFile.id).limit(limit).with_for_update()
    return await _remove(session, storage, [(file, tenant, key) for file, tenant, key in await session.execute(query)])


async def _remove(session: AsyncSession, storage: Storage, found: Sequence[tuple[str, str, str]]) -> int:
    """Delete files and their rows: id, tenant, key. A key in the folder of another tenant stays in the storage."""
    for _, tenant_id, key in found:
        if in_own_folder(key, tenant_id):
            await storage.delete(key)
    return await affected_rows(session, delete(UploadFile).where(UploadFile.id.in_([file_id for file_id, *_ in found])))
