"""The tables that the built-in handlers use, with the columns and the rights that they need."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Table

from streams.database import tables as ledger
from streams.dify import models
from streams.settings import PoolName

Right = Literal["SELECT", "INSERT", "UPDATE", "DELETE"]

HIGH_TABLES = frozenset(
    {
        "app_dataset_joins",
        "app_model_configs",
        "apps",
        "datasets",
        "installed_apps",
        "providers",
        "sites",
        "tenants",
        "workflow_node_executions",
        "workflow_runs",
        "workflows",
    }
)
"""The platform's tables that the handlers of the pool `high` use."""
READS = frozenset(
    {
        "accounts",
        "data_source_oauth_bindings",
        "datasource_providers",
        "provider_credentials",
        "provider_model_credentials",
        "provider_models",
        "tenant_account_joins",
        "tenant_default_models",
        "tenant_plugin_auto_upgrade_strategies",
        "tenants",
    }
)
"""The platform's tables that handlers only read."""
_ALL: frozenset[Right] = frozenset({"INSERT", "UPDATE", "DELETE"})
_DELETED: frozenset[Right] = frozenset({"DELETE"})
_LOCKED_AND_DELETED: frozenset[Right] = frozenset({"UPDATE", "DELETE"})
"""Rows that a query locks (`for update`) before they are deleted. A row lock needs the right UPDATE."""
WRITES: Mapping[str, frozenset[Right]] = {
    **dict.fromkeys(
        (
            "api_tokens",
            "app_annotation_hit_histories",
            "app_mcp_servers",
            "app_model_configs",
            "dataset_metadata_bindings",
            "dataset_metadatas",
            "dataset_process_rules",
            "dataset_queries",
            "dataset_retriever_resources",
            "end_users",
            "message_agent_thoughts",
            "message_chains",
            "message_feedbacks",
            "message_files",
            "pinned_conversations",
            "recommended_apps",
            "saved_messages",
            "tag_bindings",
            "tool_conversation_variables",
            "tool_workflow_providers",
            "trace_app_config",
            "workflow_app_logs",
            "workflow_conversation_variables",
            "workflow_draft_variables",
            "workflow_node_execution_offload",
            "workflows",
        ),
        _DELETED,
    ),
    **dict.fromkeys(
        ("conversations", "documents", "messages", "pipelines", "tool_files", "workflow_draft_variable_files"),
        _LOCKED_AND_DELETED,
    ),
    "app_annotation_settings": _ALL,
    "app_dataset_joins": _ALL,
    "apps": frozenset({"UPDATE"}),
    "child_chunks": _ALL,
    "dataset_auto_disable_logs": _ALL,
    "dataset_collection_bindings": frozenset({"INSERT"}),
    "dataset_keyword_tables": _ALL,
    "datasets": frozenset({"UPDATE"}),
    "document_segments": _ALL,
    "embeddings": _ALL,
    "installed_apps": _ALL,
    "message_annotations": _ALL,
    "providers": frozenset({"UPDATE"}),
    "sites": _ALL,
    "tidb_auth_bindings": frozenset({"INSERT", "UPDATE"}),
    "upload_files": _ALL,
    "workflow_node_executions": _ALL,
    "workflow_runs": _ALL,
}
"""The platform's tables that handlers change. They read them too."""
_KEPT: frozenset[Right] = frozenset({"INSERT", "UPDATE"})
LEDGER_WRITES: Mapping[str, frozenset[Right]] = {
    "alert_notices": _ALL,
    "alerts": _KEPT,
    "answered_chunks": frozenset({"INSERT", "DELETE"}),
    "breakers": _ALL,
    "dead_letters": _ALL,
    "executions": _KEPT,
    "installation": frozenset(),
    "leases": _ALL,
    "outbox": _ALL,
    "partition_starts": _ALL,
    "pauses": frozenset({"INSERT", "DELETE"}),
    "plugin_check_runs": _KEPT,
    "plugin_checks": _KEPT,
    "relay": frozenset({"UPDATE"}),
    "schedules": _KEPT,
    "slots": _ALL,
    "suspects": _ALL,
}
"""The tables of the schema `streams`, and how workers and operators' commands change them. They read them too."""


@dataclass(frozen=True, slots=True)
class TableNeed:
    """A table that must exist, by its name as a query writes it."""

    name: str
    columns: frozenset[str]
    rights: frozenset[Right]
    is_ledger: bool
    """Whether the table belongs to the schema `streams`."""


def table_needs(pools: Collection[PoolName]) -> list[TableNeed]:
    """Return the tables that workers of these pools need, in the order of their names."""
    return [
        *(
            _need(table, LEDGER_WRITES[table.name] | {"SELECT"}, is_ledger=True)
            for table in _sorted(ledger.metadata.tables.values())
        ),
        *(
            _need(table, WRITES.get(table.name, frozenset()) | {"SELECT"}, is_ledger=False)
            for table in _sorted(models.metadata.tables.values())
            if _is_used(table.name, pools)
        ),
    ]


def _is_used(name: str, pools: Collection[PoolName]) -> bool:
    if {"default", "low"} & set(pools):
        return name in READS or name in WRITES
    return name in HIGH_TABLES


def _need(table: Table, rights: frozenset[Right], *, is_ledger: bool) -> TableNeed:
    return TableNeed(table.fullname, frozenset(column.name for column in table.columns), rights, is_ledger)


def _sorted(found: Iterable[Table]) -> list[Table]:
    return sorted(found, key=lambda table: table.name)
