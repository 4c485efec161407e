"""The settings of documents: models, the store of their vectors, and what their segments contain."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from streams.durations import Seconds
from streams.urls import check_urls


class ModelSettings(BaseModel):
    """The embedding endpoint, the vector store and the chat endpoint."""

    embedding_provider: str = Field("local", description="embedding provider for datasets that name none")
    embedding_model: str = Field("wordllama-256", description="embedding model for datasets that name none")
    embedding_url: str | None = Field(None, description="OpenAI-compatible endpoint, without /embeddings")
    embedding_api_key: SecretStr | None = None
    embedding_dimensions: int | None = Field(
        None, ge=1, description="its vectors' length; unset: from its first answer"
    )
    embedding_endpoints: Path | None = Field(
        None, description="TOML file with more models: provider, model, url and api_key of each"
    )
    embedding_batch: int = Field(64, ge=1, description="texts in one request, the endpoint's maximum")
    embedding_concurrency: int = Field(4, ge=1, description="concurrent requests of one worker")
    embedding_connect_timeout: Seconds = 5.0
    embedding_request_timeout: Seconds = Field(60.0, description="seconds for a whole request")
    vector_store: Literal["pgvector", "qdrant", "weaviate", "milvus", "elasticsearch", "opensearch"] = Field(
        "pgvector", description="where vectors are kept"
    )
    pgvector_url: SecretStr | None = Field(
        None, description="postgresql://… of the vectors, if they are not in the database of the platform's tables"
    )
    qdrant_url: str = "http://127.0.0.1:6333"
    qdrant_api_key: SecretStr | None = None
    qdrant_timeout: int = Field(10, ge=1, le=60, description="seconds for one request, below every transaction's")
    weaviate_url: str = Field("http://127.0.0.1:8080", description="the platform's WEAVIATE_ENDPOINT")
    weaviate_api_key: SecretStr | None = None
    weaviate_timeout: int = Field(10, ge=1, le=60, description="seconds for one request, below every transaction's")
    milvus_url: str = Field("http://127.0.0.1:19530", description="the platform's MILVUS_URI")
    milvus_token: SecretStr | None = Field(None, description="the platform's MILVUS_TOKEN; it comes before the user")
    milvus_user: str = Field("", description="the platform's MILVUS_USER")
    milvus_password: SecretStr | None = Field(None, description="the platform's MILVUS_PASSWORD")
    milvus_database: str = Field("", description="the platform's MILVUS_DATABASE; empty: the server's default")
    milvus_full_text: bool = Field(
        default=False, description="the platform's MILVUS_ENABLE_HYBRID_SEARCH: new collections have its second vector"
    )
    milvus_analyzer: str | None = Field(None, description="the platform's MILVUS_ANALYZER_PARAMS: JSON")
    milvus_timeout: int = Field(10, ge=1, le=60, description="seconds for one request, below every transaction's")
    elasticsearch_url: str = Field("http://127.0.0.1:9200", description="address of Elasticsearch or OpenSearch")
    elasticsearch_user: str = Field("", description="its user; empty: it asks for none")
    elasticsearch_password: SecretStr | None = None
    elasticsearch_timeout: int = Field(
        10, ge=1, le=60, description="seconds for one request, below every transaction's"
    )
    vector_index_name_prefix: str = Field("Vector_index", description="the platform's VECTOR_INDEX_NAME_PREFIX")

    indexing_max_segmentation_tokens_length: int = Field(
        4000,
        ge=50,
        description="the platform's INDEXING_MAX_SEGMENTATION_TOKENS_LENGTH: the largest max_tokens of a process rule, "
        "in characters",
    )
    files_url: str | None = Field(
        None,
        description="the platform's FILES_URL, which links to images of documents begin with; unset: they begin with "
        "/files, and work in the platform's own pages only",
    )

    chat_url: str | None = Field(None, description="OpenAI-compatible endpoint that generates questions, ends in /v1")
    chat_model: str | None = None
    chat_api_key: SecretStr | None = None
    chat_connect_timeout: Seconds = 5.0
    chat_timeout: Seconds = Field(120.0, description="seconds for one answer of the chat model")

    @field_validator(
        "embedding_url", "qdrant_url", "weaviate_url", "milvus_url", "elasticsearch_url", "files_url", "chat_url"
    )
    @classmethod
    def _check_model_url(cls, value: str | None) -> str | None:
        return None if value is None else check_urls(value, ("http", "https"))
