"""The platform's tables with the exact names and columns of Dify 1.9.2. They are never migrated from here."""

from streams.dify.models.app import App, AppDatasetJoin
from streams.dify.models.columns import Model, utc_now
from streams.dify.models.creation import create_platform_tables
from streams.dify.models.dataset import (
    Dataset,
    DatasetAutoDisableLog,
    DatasetCollectionBinding,
    DatasetKeywordTable,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
)
from streams.dify.models.document import ChildChunk, Document, DocumentSegment
from streams.dify.models.embedding import Embedding
from streams.dify.models.file import UploadFile
from streams.dify.models.message import Message
from streams.dify.models.provider import Provider
from streams.dify.models.source import DataSourceOauthBinding
from streams.dify.models.tenant import Account, Tenant, TenantAccountJoin

metadata = Model.metadata

__all__ = [
    "Account",
    "App",
    "AppDatasetJoin",
    "ChildChunk",
    "DataSourceOauthBinding",
    "Dataset",
    "DatasetAutoDisableLog",
    "DatasetCollectionBinding",
    "DatasetKeywordTable",
    "DatasetMetadata",
    "DatasetMetadataBinding",
    "DatasetProcessRule",
    "DatasetQuery",
    "Document",
    "DocumentSegment",
    "Embedding",
    "Message",
    "Model",
    "Provider",
    "Tenant",
    "TenantAccountJoin",
    "UploadFile",
    "create_platform_tables",
    "metadata",
    "utc_now",
]
