"""The event classes, one module per family. The package imports nothing of `streams`, so any producer can use it."""

from schemas.app import AppCreated, AppDraftWorkflowSynced, AppModelConfigUpdated, AppPublishedWorkflowUpdated, ToolNode
from schemas.dataset import DatasetDeleted
from schemas.document import DocumentDeleted, DocumentIndexCreated, DocumentIndexRequested, DocumentSyncRequested
from schemas.documents import DocumentsDeleted, DocumentsRemovalRequested
from schemas.event import Event
from schemas.message import MessageCreated
from schemas.sensitivity import Personal, Secret
from schemas.tenant import TenantCreated, TenantUpdated

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
