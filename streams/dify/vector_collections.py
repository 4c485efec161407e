"""The collection of a dataset's vectors, also where several datasets share one."""

from collections.abc import Iterable

from sqlalchemy import any_, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import RefusedError
from streams.dify.models import Dataset, DatasetCollectionBinding
from streams.dify.platform import Platform
from streams.dify.vector_stores.port import collection_from_struct, datasets_in, store_from_struct

_COMPARED = 53
"""The number of characters of a collection's name to look for. pgvector's table name has no more of them."""


async def collection_of(session: AsyncSession, platform: Platform, dataset: Dataset) -> str:
    """Return the collection of the binding, else of index_struct, else of the dataset's id.

    Raises RefusedError for an invalid index_struct, or one of another store: vectors here would never be found.
    The binding comes first, as on the platform: with another embedding model a dataset gets another binding, and its
    index_struct still names the former collection.
    """
    store = store_from_struct(dataset.index_struct) if dataset.index_struct else None
    if store is not None and store != platform.vectors.kind:
        message = f"the dataset's vectors are in {store}, but STREAMS_VECTOR_STORE is {platform.vectors.kind}"
        raise RefusedError(message)
    bound = await bound_collection(session, platform, dataset.collection_binding_id)
    named = collection_from_struct(dataset.index_struct) if dataset.index_struct else None
    return bound or named or platform.collection(dataset.id, None)


async def collections_of(
    session: AsyncSession, platform: Platform, dataset_id: str, index_struct: str | None, binding_id: str | None
) -> tuple[str, ...]:
    """Return every collection that may contain vectors of a dataset. Raises RefusedError: invalid index_struct."""
    bound = await bound_collection(session, platform, binding_id)
    return tuple(dict.fromkeys((*platform.collections(dataset_id, index_struct), *([bound] if bound else []))))


async def bound_collection(session: AsyncSession, platform: Platform, binding_id: str | None) -> str | None:
    """Return a binding's collection; None if there is no binding, or the store does not share collections."""
    if binding_id is None or not platform.vectors.shares_collections:
        return None
    return await session.scalar(
        select(DatasetCollectionBinding.collection_name).where(DatasetCollectionBinding.id == binding_id)
    )


async def has_other_users(session: AsyncSession, collection: str, dataset_id: str) -> bool:
    """Return whether rows of the platform say that others than a deleted dataset use a collection.

    That is a dataset that exists and whose id is in the name or whose index_struct names it, or a binding. A name comes
    from an event, which may name anything. It is compared as a store may have truncated it.
    """
    named = literal([one for one in datasets_in(collection) if one != dataset_id], ARRAY(Dataset.id.type))
    start = collection[:_COMPARED].lower()
    struct_names = func.strpos(func.lower(Dataset.index_struct), start) > 0
    own = Dataset.id == dataset_id
    found = await session.scalar(
        select(
            or_(
                exists().where(Dataset.id == any_(named)),
                exists().where(struct_names, ~own),
                exists().where(func.starts_with(func.lower(DatasetCollectionBinding.collection_name), start)),
            )
        )
    )
    return bool(found)


def existence_keys(collections: Iterable[str]) -> list[str]:
    """Return the keys by which the platform remembers that collections exist. Without them it looks again."""
    return [f"vector_indexing_{collection}" for collection in collections]
