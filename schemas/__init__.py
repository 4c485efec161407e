"""The event classes, one module per family. The package imports nothing of `streams`, so any producer can use it."""

from schemas.apps.annotation import (
    AnnotationAdded,
    AnnotationDeleted,
    AnnotationReplyDisabled,
    AnnotationReplyEnabled,
    AnnotationRow,
    AnnotationsImportRequested,
    AnnotationUpdated,
)
from schemas.apps.app import (
    AppCreated,
    AppDeleted,
    AppDraftWorkflowSynced,
    AppModelConfigUpdated,
    AppPublishedWorkflowUpdated,
    ToolNode,
)
from schemas.apps.conversation import ConversationDeleted
from schemas.apps.message import MessageCreated
from schemas.apps.trace import TraceRecorded
from schemas.apps.workflow import (
    DraftVariableFile,
    WorkflowDraftVariablesDeleted,
    WorkflowNodeExecutionSaved,
    WorkflowRunSaved,
)
from schemas.event import Event
from schemas.knowledge.collection import CollectionsDropped
from schemas.knowledge.dataset import DatasetDeleted, DatasetIndexChanged
from schemas.knowledge.document import (
    DocumentDeleted,
    DocumentDisabled,
    DocumentEnabled,
    DocumentIndexCreated,
    DocumentIndexRequested,
    DocumentSyncRequested,
)
from schemas.knowledge.documents import DocumentsDeleted, DocumentsRemovalRequested
from schemas.knowledge.pipeline import PipelineRunRequested
from schemas.knowledge.segment import SegmentDeleted, SegmentDisabled, SegmentEnabled, SegmentsImportRequested
from schemas.maintenance.cleanup import (
    EmbeddingCacheCleanupRequested,
    MessagesCleanupRequested,
    UnusedDatasetsCleanupRequested,
    WorkflowRunsCleanupRequested,
)
from schemas.maintenance.monitoring import DeadLetterCheckRequested, QueueCheckRequested
from schemas.maintenance.platform import (
    DocumentNoticesRequested,
    PluginChecksRequested,
    TidbClustersRequested,
    TidbStatusRequested,
)
from schemas.sensitivity import Personal, Secret
from schemas.workspace.account import AccountDeletionRequested
from schemas.workspace.job import JobEnded
from schemas.workspace.mail import MailCodeRequested, MailRequested
from schemas.workspace.plugin import PluginUpgradeCheckRequested
from schemas.workspace.tenant import TenantCreated, TenantUpdated

__all__ = [
    "AccountDeletionRequested",
    "AnnotationAdded",
    "AnnotationDeleted",
    "AnnotationReplyDisabled",
    "AnnotationReplyEnabled",
    "AnnotationRow",
    "AnnotationUpdated",
    "AnnotationsImportRequested",
    "AppCreated",
    "AppDeleted",
    "AppDraftWorkflowSynced",
    "AppModelConfigUpdated",
    "AppPublishedWorkflowUpdated",
    "CollectionsDropped",
    "ConversationDeleted",
    "DatasetDeleted",
    "DatasetIndexChanged",
    "DeadLetterCheckRequested",
    "DocumentDeleted",
    "DocumentDisabled",
    "DocumentEnabled",
    "DocumentIndexCreated",
    "DocumentIndexRequested",
    "DocumentNoticesRequested",
    "DocumentSyncRequested",
    "DocumentsDeleted",
    "DocumentsRemovalRequested",
    "DraftVariableFile",
    "EmbeddingCacheCleanupRequested",
    "Event",
    "JobEnded",
    "MailCodeRequested",
    "MailRequested",
    "MessageCreated",
    "MessagesCleanupRequested",
    "Personal",
    "PipelineRunRequested",
    "PluginChecksRequested",
    "PluginUpgradeCheckRequested",
    "QueueCheckRequested",
    "Secret",
    "SegmentDeleted",
    "SegmentDisabled",
    "SegmentEnabled",
    "SegmentsImportRequested",
    "TenantCreated",
    "TenantUpdated",
    "TidbClustersRequested",
    "TidbStatusRequested",
    "ToolNode",
    "TraceRecorded",
    "UnusedDatasetsCleanupRequested",
    "WorkflowDraftVariablesDeleted",
    "WorkflowNodeExecutionSaved",
    "WorkflowRunSaved",
    "WorkflowRunsCleanupRequested",
]
