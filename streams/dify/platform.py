"""The platform's services as one value. Handlers get it by `work.use(Platform)`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.apps.tool_cache import ToolParameterCache
from streams.dify.coordination_keys import CoordinationKeys
from streams.dify.embedding.endpoints import build_endpoint_embedders
from streams.dify.embedding.local import MODEL, PROVIDER, LocalEmbedder
from streams.dify.embedding.openai import build_openai_embedder
from streams.dify.embedding.port import Embedder
from streams.dify.embedding.provider_names import full_provider_name
from streams.dify.embedding.tenant_embedders import TenantEmbedders, build_tenant_embedders
from streams.dify.embedding.tenant_models import default_model
from streams.dify.errors import RefusedError
from streams.dify.http import Timeouts
from streams.dify.pipelines.client import PipelineClient, build_pipeline_client
from streams.dify.pipelines.waiting_list import WaitingLists
from streams.dify.plugins.upgrade import PluginServices, build_plugin_services
from streams.dify.qa.chat import ChatEndpoint, chat_endpoint
from streams.dify.redis import RedisClients, redis_opener
from streams.dify.sources.reader import SourceReader, build_source_reader
from streams.dify.splitting.rules import LARGEST_PIECE
from streams.dify.traces.port import TraceProviders
from streams.dify.vector_stores.elasticsearch import build_elasticsearch_index
from streams.dify.vector_stores.pgvector import PgVectorIndex
from streams.dify.vector_stores.pgvector_database import vector_database
from streams.dify.vector_stores.port import VectorIndex, collection_from_struct, collection_name
from streams.dify.vector_stores.weaviate import WeaviateIndex
from streams.settings import Settings, SettingsError
from streams.storage import Storage, open_storage

__all__ = ["Platform", "build_platform"]


@dataclass(frozen=True, slots=True)
class Platform:
    """The services of one deployment. A connection is opened at its first use, so the value can be shared."""

    storage: Storage
    sources: SourceReader
    embedders: Mapping[tuple[str, str], Embedder]
    """The models of the settings. Key: provider and model."""
    default_embedder: Embedder
    tenant_embedders: TenantEmbedders | None
    """The models of tenants in the plugin daemon; None: not configured."""
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
    largest_piece: int = LARGEST_PIECE
    """The largest number of characters of a piece that a process rule may ask for."""
    files_url: str = ""
    """What the addresses of images in segments begin with. Empty: they are relative."""

    def embedder(self, provider: str | None, model: str | None) -> Embedder:
        """Return the model that a dataset names, or the default model. Raises RefusedError for an unknown model."""
        if not provider and not model:
            return self.default_embedder
        found = self._configured(provider, model)
        if found is None:
            known = ", ".join(f"{name} of {owner}" for owner, name in self.embedders)
            message = f"the embedding model {model!r} of {provider!r} is not configured; available: {known}"
            raise RefusedError(message)
        return found

    async def tenant_embedder(
        self, session: AsyncSession, tenant_id: str, provider: str | None, model: str | None
    ) -> Embedder:
        """Return the model that a row of a tenant names; without a name the tenant's default, else the deployment's.

        The models of the settings come before those of the plugin daemon.

        Args:
            session: Reads the rows of the tenant.
            tenant_id: The tenant.
            provider: The provider that the row names, in the short or the full form.
            model: The model that the row names.

        Raises:
            RefusedError: The model is not configured, and the tenant has no credential for it.
        """
        if not provider and not model:
            named = await default_model(session, tenant_id)
            if named is None:
                return self.default_embedder
            provider, model = named
        if self.tenant_embedders is None or not provider or not model or self._configured(provider, model) is not None:
            return self.embedder(provider, model)
        return await self.tenant_embedders.embedder(session, tenant_id, provider, model)

    def is_configured(self, provider: str | None, model: str | None) -> bool:
        """Return whether the settings have a model. The names of a provider are compared in their full form."""
        return self._configured(provider, model) is not None

    def _configured(self, provider: str | None, model: str | None) -> Embedder | None:
        wanted = (full_provider_name(provider or self.default_embedder.provider), model or "")
        known = {(full_provider_name(name), one): embedder for (name, one), embedder in self.embedders.items()}
        return known.get(wanted)

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
    if settings.vector_store == "weaviate":
        return WeaviateIndex(settings.weaviate_url, settings.weaviate_api_key, settings.weaviate_timeout)
    if settings.vector_store in {"elasticsearch", "opensearch"}:
        return build_elasticsearch_index(settings)
    if settings.vector_store == "milvus":
        return _milvus_index(settings)
    from streams.dify.vector_stores.qdrant import build_qdrant_index  # noqa: PLC0415 - the client takes a second to import

    return build_qdrant_index(settings.qdrant_url, settings.qdrant_api_key, settings.qdrant_timeout)


def _milvus_index(settings: Settings) -> VectorIndex:
    try:
        from streams.dify.vector_stores.milvus import build_milvus_index  # noqa: PLC0415 - only its users have the client
    except ImportError as error:
        message = "STREAMS_VECTOR_STORE=milvus needs pymilvus: install the extra `milvus`"
        raise SettingsError(message) from error
    return build_milvus_index(settings)


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
        embedders={(one.provider, one.model): one for one in (*build_endpoint_embedders(settings), default, local)},
        default_embedder=default,
        tenant_embedders=build_tenant_embedders(settings, storage),
        vectors=_vector_index(settings),
        collection_prefix=settings.vector_index_name_prefix,
        chat=chat_endpoint(settings),
        keys=CoordinationKeys(open_redis, redis_seconds),
        tool_cache=ToolParameterCache(redis, redis_seconds),
        plugins=build_plugin_services(settings, redis),
        pipelines=build_pipeline_client(settings),
        waiting_lists=WaitingLists(redis, redis_seconds),
        largest_piece=settings.indexing_max_segmentation_tokens_length,
        files_url=(settings.files_url or "").rstrip("/"),
        traces=TraceProviders(Timeouts(settings.service_connect_timeout, settings.service_request_timeout)),
    )
