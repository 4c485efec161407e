"""Delete wins: a step of an indexing holds the rows that it works for, or stops."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import Dataset, Document


class Stopped(Exception):  # noqa: N818 - reads as what it is: `raise Stopped("the document is gone")`
    """There is nothing (more) to do, and that is no failure; the message says why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The rows of a document that is still there, locked FOR KEY SHARE until the transaction ends."""

    dataset: Dataset
    document: Document


async def lock_standing(session: AsyncSession, dataset_id: str, document_id: str) -> Standing:
    """Lock the dataset's row, then the document's. DELETE of either waits until this transaction ends.

    Raises Stopped where a row is gone or the document is paused.
    """
    dataset = await session.scalar(
        select(Dataset)
        .where(Dataset.id == dataset_id)
        .with_for_update(read=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if dataset is None:
        message = "the dataset is gone"
        raise Stopped(message)
    document = await session.scalar(
        select(Document)
        .where(Document.id == document_id, Document.dataset_id == dataset_id)
        .with_for_update(read=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    if document is None:
        message = "the document is gone"
        raise Stopped(message)
    if document.is_paused:
        message = "the document is paused"
        raise Stopped(message)
    return Standing(dataset, document)
