"""The platform's services as one value. Handlers get it by `work.use(Platform)`."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.dify.apps.tool_cache import ToolParameterCache
from streams.dify.coordination_keys import CoordinationKeys
from streams.dify.embedding.local import MODEL, PROVIDER, LocalEmbedder
from streams.dify.embedding.openai import build_openai_embedder
from streams.dify.embedding.port import Embedder
from streams.dify.errors import RefusedError
from streams.dify.http import Timeouts
from streams.dify.pipelines.client import PipelineClient, build_pipeline_client
from streams.dify.pipelines.waiting_list import WaitingLists
from streams.dify.plugins.upgrade import PluginServices, build_plugin_services
from streams.dify.qa.chat import ChatEndpoint, chat_endpoint
from streams.dify.redis import RedisClients, redis_opener
from streams.dify.sources.reader import SourceReader, build_source_reader
from streams.dify.traces.port import TraceProviders
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.dify.vector_stores.pgvector_database import vector_database
from streams.dify.vector_stores.port import VectorIndex, collection_from_struct, collection_name
from streams.settings import Settings
from streams.storage import Storage, open_storage

__all__ = ["Platform", "build_platform"]


@dataclass(frozen=True, slots=True)
class Platform:
    """The services of one deployment. A connection is opened at its first use, so the value can be shared."""

    storage: Storage
    sources: SourceReader
    embedders: Mapping[tuple[str, str], Embedder]
    """Key: provider and model."""
    default_embedder: Embedder
    vectors: VectorIndex
    collection_prefix: str
    chat: ChatEndpoint | None
    """The chat model that writes questions and answers; None: not configured."""
    keys: CoordinationKeys
    plugins: PluginServices | None
    """The plugin daemon and the marketplace; None: not configured."""
    traces: TraceProviders
    tool_cache: ToolParameterCache
    pipelines: PipelineClient | None
    """The platform's API that runs pipelines; None: not configured."""
    waiting_lists: WaitingLists
    """Files with runs of pipelines that wait, by tenant."""

    def embedder(self, provider: str | None, model: str | None) -> Embedder:
        """Return the model that a dataset names, or the default model. Raises RefusedError for an unknown model."""
        if not provider and not model:
            return self.default_embedder
        found = self.embedders.get((provider or self.default_embedder.provider, model or ""))
        if found is None:
            known = ", ".join(f"{name} of {owner}" for owner, name in self.embedders)
            message = f"the embedding model {model!r} of {provider!r} is not configured; available: {known}"
            raise RefusedError(message)
        return found

    def collection(self, dataset_id: str, index_struct: str | None) -> str:
        """Return the collection of a dataset's vectors. Raises RefusedError for an invalid index_struct."""
        named = collection_from_struct(index_struct) if index_struct else None
        return named or collection_name(self.collection_prefix, dataset_id)

    def collections(self, dataset_id: str, index_struct: str | None) -> tuple[str, ...]:
        """Return every collection that may contain vectors of a dataset: the named one and the one of its id."""
        named = self.collection(dataset_id, index_struct)
        return tuple(dict.fromkeys((named, collection_name(self.collection_prefix, dataset_id))))


def _vector_index(settings: Settings) -> VectorIndex:
    if settings.vector_store == "pgvector":
        return PgVectorIndex(vector_database(settings))
    from streams.dify.vector_stores.qdrant import build_qdrant_index  # noqa: PLC0415 - the client takes a second to import

    return build_qdrant_index(settings.qdrant_url, settings.qdrant_api_key, settings.qdrant_timeout)


def build_platform(settings: Settings) -> Platform:
    """Create the services of the settings. Raises SettingsError."""
    local = LocalEmbedder()
    default: Embedder = local
    if settings.embedding_url is not None or (settings.embedding_provider, settings.embedding_model) != (
        PROVIDER,
        MODEL,
    ):
        default = build_openai_embedder(settings)
    storage = open_storage(settings)
    open_redis = redis_opener(settings)
    redis_seconds = 2 * (settings.redis_connect_timeout + settings.redis_request_timeout)
    redis = RedisClients(open_redis)
    return Platform(
        storage=storage,
        sources=build_source_reader(settings, storage),
        embedders={(one.provider, one.model): one for one in (default, local)},
        default_embedder=default,
        vectors=_vector_index(settings),
        collection_prefix=settings.vector_index_name_prefix,
        chat=chat_endpoint(settings),
        keys=CoordinationKeys(open_redis, redis_seconds),
        tool_cache=ToolParameterCache(redis, redis_seconds),
        plugins=build_plugin_services(settings, redis),
        pipelines=build_pipeline_client(settings),
        waiting_lists=WaitingLists(redis, redis_seconds),
        traces=TraceProviders(Timeouts(settings.service_connect_timeout, settings.service_request_timeout)),
    )
