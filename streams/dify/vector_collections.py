"""The collection in which a dataset's vectors are, where datasets share collections."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.models import Dataset, DatasetCollectionBinding
from streams.dify.platform import Platform
from streams.dify.vector_stores.port import collection_in


async def collection_of(session: AsyncSession, platform: Platform, dataset: Dataset) -> str:
    """The one that its index_struct names, else its binding's, else its own. Raises RefusedError."""
    named = collection_in(dataset.index_struct) if dataset.index_struct else None
    return (
        named
        or await bound_collection(session, platform, dataset.collection_binding_id)
        or platform.collection(dataset.id, None)
    )


async def collections_of(
    session: AsyncSession, platform: Platform, dataset_id: str, index_struct: str | None, binding_id: str | None
) -> tuple[str, ...]:
    """Every collection in which a dataset may have vectors. Raises RefusedError for a broken index_struct."""
    bound = await bound_collection(session, platform, binding_id)
    return tuple(dict.fromkeys((*platform.collections(dataset_id, index_struct), *([bound] if bound else []))))


async def bound_collection(session: AsyncSession, platform: Platform, binding_id: str | None) -> str | None:
    """A binding's collection; None where there is none, or the store does not share collections."""
    if binding_id is None or not platform.vectors.shares_collections:
        return None
    return await session.scalar(
        select(DatasetCollectionBinding.collection_name).where(DatasetCollectionBinding.id == binding_id)
    )
