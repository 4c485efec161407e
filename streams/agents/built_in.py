"""The built-in handlers."""

from schemas import Event
from streams.agents.annotations import annotation_import, annotation_index, annotation_reply
from streams.agents.apps import (
    app_creation,
    app_datasets,
    cleanup,
    draft_variables,
    message_quota,
    tool_parameters,
    trace_export,
    workflow_runs,
)
from streams.agents.knowledge import (
    dataset_cleanup,
    dataset_index,
    document_cleanup,
    document_indexing,
    document_state,
    document_sync,
    pipeline_runs,
    segment_import,
    segment_state,
)
from streams.agents.maintenance import alerts, document_notices, plugin_checks, retention, tidb_clusters
from streams.agents.workspace import account, coordination_keys, mail, plugin_upgrades
from streams.delivery.handler import Handler

HANDLERS: tuple[Handler[Event], ...] = (
    *document_indexing.HANDLERS,
    *document_sync.HANDLERS,
    *document_cleanup.HANDLERS,
    *document_state.HANDLERS,
    *segment_state.HANDLERS,
    *segment_import.HANDLERS,
    *dataset_cleanup.HANDLERS,
    *dataset_index.HANDLERS,
    *pipeline_runs.HANDLERS,
    *message_quota.HANDLERS,
    *app_creation.HANDLERS,
    *app_datasets.HANDLERS,
    *tool_parameters.HANDLERS,
    *cleanup.HANDLERS,
    *annotation_index.HANDLERS,
    *annotation_reply.HANDLERS,
    *annotation_import.HANDLERS,
    *workflow_runs.HANDLERS,
    *trace_export.HANDLERS,
    *draft_variables.HANDLERS,
    *plugin_upgrades.HANDLERS,
    *mail.HANDLERS,
    *account.HANDLERS,
    *coordination_keys.HANDLERS,
    *retention.HANDLERS,
    *plugin_checks.HANDLERS,
    *alerts.HANDLERS,
    *document_notices.HANDLERS,
    *tidb_clusters.HANDLERS,
)
