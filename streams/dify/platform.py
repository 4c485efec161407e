"""What handlers get of the platform's services, as one value: `work.use(Platform)`."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.dify.embedding import Embedder
from streams.dify.local_embedding import MODEL, PROVIDER, LocalEmbedder
from streams.dify.refusals import RefusedError
from streams.dify.vector_index import PgVectorIndex, VectorIndex, collection_in, collection_name
from streams.settings import Settings, SettingsError
from streams.storage import Storage, open_storage


@dataclass(frozen=True, slots=True)
class Platform:
    """The services of one deployment; holds no connection, so it can be shared."""

    storage: Storage
    embedders: Mapping[tuple[str, str], Embedder]
    """By provider and model."""
    default_embedder: Embedder
    vectors: VectorIndex
    collection_prefix: str

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


def build_platform(settings: Settings) -> Platform:
    """The services that the settings ask for. Raises SettingsError."""
    asked = (settings.embedding_provider, settings.embedding_model)
    local = LocalEmbedder()
    if asked != (PROVIDER, MODEL):
        message = (
            f"STREAMS_EMBEDDING_PROVIDER, STREAMS_EMBEDDING_MODEL: {asked[1]!r} of {asked[0]!r} is not built yet; "
            f"there is {MODEL!r} of {PROVIDER!r}"
        )
        raise SettingsError(message)
    return Platform(
        storage=open_storage(settings),
        embedders={(local.provider, local.model): local},
        default_embedder=local,
        vectors=PgVectorIndex(),
        collection_prefix=settings.vector_index_name_prefix,
    )
