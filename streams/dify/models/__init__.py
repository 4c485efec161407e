"""The platform's tables with the exact names and columns of Dify 1.9.2. They are never migrated from here."""

from streams.dify.models.apps.access import ApiToken, AppMcpServer, EndUser
from streams.dify.models.apps.annotation import AppAnnotationHitHistory, AppAnnotationSetting, MessageAnnotation
from streams.dify.models.apps.app import App, AppDatasetJoin, AppModelConfig
from streams.dify.models.apps.site import InstalledApp, RecommendedApp, Site
from streams.dify.models.apps.tag import Tag, TagBinding
from streams.dify.models.apps.tracing import TraceAppConfig
from streams.dify.models.columns import Model, utc_now
from streams.dify.models.conversations.conversation import (
    Conversation,
    PinnedConversation,
    WorkflowConversationVariable,
)
from streams.dify.models.conversations.message import Message
from streams.dify.models.conversations.message_parts import (
    DatasetRetrieverResource,
    MessageAgentThought,
    MessageChain,
    MessageFeedback,
    MessageFile,
    SavedMessage,
)
from streams.dify.models.conversations.tool import ToolConversationVariable, ToolFile
from streams.dify.models.creation import create_platform_tables
from streams.dify.models.datasets.dataset import (
    Dataset,
    DatasetAutoDisableLog,
    DatasetCollectionBinding,
    DatasetKeywordTable,
    DatasetMetadata,
    DatasetMetadataBinding,
    DatasetProcessRule,
    DatasetQuery,
)
from streams.dify.models.datasets.document import ChildChunk, Document, DocumentSegment
from streams.dify.models.datasets.embedding import Embedding
from streams.dify.models.datasets.external import ExternalKnowledgeBinding
from streams.dify.models.datasets.permission import DatasetPermission
from streams.dify.models.datasets.pipeline import (
    DocumentPipelineExecutionLog,
    Pipeline,
    PipelineBuiltInTemplate,
    PipelineCustomizedTemplate,
    PipelineRecommendedPlugin,
)
from streams.dify.models.datasets.tidb import TidbAuthBinding
from streams.dify.models.file import UploadFile
from streams.dify.models.tenants.plugin import TenantPluginAutoUpgradeStrategy
from streams.dify.models.tenants.provider import (
    Provider,
    ProviderCredential,
    ProviderModel,
    ProviderModelCredential,
    TenantDefaultModel,
)
from streams.dify.models.tenants.rate_limit import RateLimitLog
from streams.dify.models.tenants.source import DataSourceOauthBinding, DatasourceProvider
from streams.dify.models.tenants.tenant import Account, Tenant, TenantAccountJoin
from streams.dify.models.workflows.draft_variable import WorkflowDraftVariable, WorkflowDraftVariableFile
from streams.dify.models.workflows.node_execution import WorkflowNodeExecution, WorkflowNodeExecutionOffload
from streams.dify.models.workflows.run import WorkflowAppLog, WorkflowRun
from streams.dify.models.workflows.workflow import ToolWorkflowProvider, Workflow

metadata = Model.metadata

__all__ = [
    "Account",
    "ApiToken",
    "App",
    "AppAnnotationHitHistory",
    "AppAnnotationSetting",
    "AppDatasetJoin",
    "AppMcpServer",
    "AppModelConfig",
    "ChildChunk",
    "Conversation",
    "DataSourceOauthBinding",
    "Dataset",
    "DatasetAutoDisableLog",
    "DatasetCollectionBinding",
    "DatasetKeywordTable",
    "DatasetMetadata",
    "DatasetMetadataBinding",
    "DatasetPermission",
    "DatasetProcessRule",
    "DatasetQuery",
    "DatasetRetrieverResource",
    "DatasourceProvider",
    "Document",
    "DocumentPipelineExecutionLog",
    "DocumentSegment",
    "Embedding",
    "EndUser",
    "ExternalKnowledgeBinding",
    "InstalledApp",
    "Message",
    "MessageAgentThought",
    "MessageAnnotation",
    "MessageChain",
    "MessageFeedback",
    "MessageFile",
    "Model",
    "PinnedConversation",
    "Pipeline",
    "PipelineBuiltInTemplate",
    "PipelineCustomizedTemplate",
    "PipelineRecommendedPlugin",
    "Provider",
    "ProviderCredential",
    "ProviderModel",
    "ProviderModelCredential",
    "RateLimitLog",
    "RecommendedApp",
    "SavedMessage",
    "Site",
    "Tag",
    "TagBinding",
    "Tenant",
    "TenantAccountJoin",
    "TenantDefaultModel",
    "TenantPluginAutoUpgradeStrategy",
    "TidbAuthBinding",
    "ToolConversationVariable",
    "ToolFile",
    "ToolWorkflowProvider",
    "TraceAppConfig",
    "UploadFile",
    "Workflow",
    "WorkflowAppLog",
    "WorkflowConversationVariable",
    "WorkflowDraftVariable",
    "WorkflowDraftVariableFile",
    "WorkflowNodeExecution",
    "WorkflowNodeExecutionOffload",
    "WorkflowRun",
    "create_platform_tables",
    "metadata",
    "utc_now",
]
