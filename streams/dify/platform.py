"""What handlers get of the platform's services, as one value: `work.use(Platform)`."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.dify.embedding.local import MODEL, PROVIDER, LocalEmbedder
from streams.dify.embedding.openai import build_openai_embedder
from streams.dify.embedding.port import Embedder
from streams.dify.errors import RefusedError
from streams.dify.indexing_flags import IndexingFlags
from streams.dify.qa.chat import ChatEndpoint, chat_endpoint
from streams.dify.redis import redis_opener
from streams.dify.sources.reader import Reading, build_reading
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.dify.vector_stores.port import VectorIndex, collection_in, collection_name
from streams.settings import Settings
from streams.storage import Storage, open_storage

__all__ = ["Platform", "build_platform"]


@dataclass(frozen=True, slots=True)
class Platform:
    """The services of one deployment; opens a connection only when one is used, so it can be shared."""

    storage: Storage
    reading: Reading
    embedders: Mapping[tuple[str, str], Embedder]
    """By provider and model."""
    default_embedder: Embedder
    vectors: VectorIndex
    collection_prefix: str
    chat: ChatEndpoint | None
    """What makes questions and answers; None: not set up."""
    flags: IndexingFlags

    def embedder(self, provider: str | None, model: str | None) -> Embedder:
        """The model that a dataset names, or the default where it names none. Raises RefusedError."""
        if not provider and not model:
            return self.default_embedder
        found = self.embedders.get((provider or self.default_embedder.provider, model or ""))
        if found is None:
            known = ", ".join(f"{name} of {owner}" for owner, name in self.embedders)
            message = f"the embedding model {model!r} of {provider!r} is not set up here; there is {known}"
            raise RefusedError(message)
        return found

    def collection(self, dataset_id: str, index_struct: str | None) -> str:
        """Where a dataset's vectors are, or will be. Raises RefusedError for a broken index_struct."""
        named = collection_in(index_struct) if index_struct else None
        return named or collection_name(self.collection_prefix, dataset_id)

    def collections(self, dataset_id: str, index_struct: str | None) -> tuple[str, ...]:
        """Every collection in which a dataset may have vectors: the one it names, and the one made from its id."""
        named = self.collection(dataset_id, index_struct)
        return tuple(dict.fromkeys((named, collection_name(self.collection_prefix, dataset_id))))


def _vector_index(settings: Settings) -> VectorIndex:
    if settings.vector_store == "pgvector":
        return PgVectorIndex()
    from streams.dify.vector_stores.qdrant import qdrant_at  # noqa: PLC0415 - its client takes a second to import

    return qdrant_at(settings.qdrant_url, settings.qdrant_api_key, settings.qdrant_timeout)


def build_platform(settings: Settings) -> Platform:
    """The services that the settings ask for. Raises SettingsError."""
    local = LocalEmbedder()
    default: Embedder = local
    if settings.embedding_url is not None or (settings.embedding_provider, settings.embedding_model) != (
        PROVIDER,
        MODEL,
    ):
        default = build_openai_embedder(settings)
    storage = open_storage(settings)
    return Platform(
        storage=storage,
        reading=build_reading(settings, storage),
        embedders={(one.provider, one.model): one for one in (default, local)},
        default_embedder=default,
        vectors=_vector_index(settings),
        collection_prefix=settings.vector_index_name_prefix,
        chat=chat_endpoint(settings),
        flags=IndexingFlags(
            redis_opener(settings), 2 * (settings.redis_connect_timeout + settings.redis_request_timeout)
        ),
    )
