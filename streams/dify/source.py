"""Where a document's content comes from, as documents.data_source_info tells it."""

import json
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.identity import checked_id
from streams.dify.models import Document, UploadFile
from streams.dify.refusals import NotBuiltYetError, RefusedError


class UploadFileMissingError(Exception):
    """The row of an upload file is not there (yet)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file in the storage."""

    key: str
    extension: str


def upload_file_id(data_source_type: str, data_source_info: str | None) -> str:
    """The upload file that a document was made from. Raises RefusedError."""
    if data_source_type != "upload_file":
        message = f"documents from {data_source_type} are not built yet"
        raise NotBuiltYetError(message)
    message = f"data_source_info names no upload file: {(data_source_info or '')[:200]!r}"
    try:
        info = json.loads(data_source_info or "")
    except ValueError as error:
        raise RefusedError(message) from error
    file_id = info.get("upload_file_id") if isinstance(info, dict) else None
    if not isinstance(file_id, str):
        raise RefusedError(message)
    return checked_id("upload_file_id", file_id)


async def source_of(session: AsyncSession, document: Document) -> Source:
    """The file of a document. Raises RefusedError, or UploadFileMissingError, which a repeat may mend."""
    file_id = upload_file_id(document.data_source_type, document.data_source_info)
    file = await session.get(UploadFile, file_id)
    if file is None:
        message = f"upload file {file_id} has no row"
        raise UploadFileMissingError(message)
    return Source(file.key, file.extension)
