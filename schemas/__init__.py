"""The event classes, one module per family. The package imports nothing of `streams`, so any producer can use it."""

from schemas.apps.app import (
    AppCreated,
    AppDraftWorkflowSynced,
    AppModelConfigUpdated,
    AppPublishedWorkflowUpdated,
    ToolNode,
)
from schemas.apps.message import MessageCreated
from schemas.event import Event
from schemas.knowledge.dataset import DatasetDeleted
from schemas.knowledge.document import (
    DocumentDeleted,
    DocumentIndexCreated,
    DocumentIndexRequested,
    DocumentSyncRequested,
)
from schemas.knowledge.documents import DocumentsDeleted, DocumentsRemovalRequested
from schemas.sensitivity import Personal, Secret
from schemas.workspace.tenant import TenantCreated, TenantUpdated

__all__ = [
    "AppCreated",
    "AppDraftWorkflowSynced",
    "AppModelConfigUpdated",
    "AppPublishedWorkflowUpdated",
    "DatasetDeleted",
    "DocumentDeleted",
    "DocumentIndexCreated",
    "DocumentIndexRequested",
    "DocumentSyncRequested",
    "DocumentsDeleted",
    "DocumentsRemovalRequested",
    "Event",
    "MessageCreated",
    "Personal",
    "Secret",
    "TenantCreated",
    "TenantUpdated",
    "ToolNode",
]
