"""The tables that the built-in handlers use, with the columns and the rights that they need."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Table

from streams.database import tables as ledger
from streams.dify import models
from streams.settings import PoolName

Right = Literal["SELECT", "INSERT", "UPDATE", "DELETE"]

QUOTA_TABLES = frozenset({"providers", "tenants"})
"""The platform's tables that the handlers of the pool `high` use."""
READS = frozenset(
    {
        "accounts",
        "data_source_oauth_bindings",
        "tenant_account_joins",
        "tenants",
        "trace_app_config",
        "workflow_draft_variables",
        "workflow_node_executions",
    }
)
"""The platform's tables that handlers only read."""
WRITES: Mapping[str, frozenset[Right]] = {
    "app_annotation_settings": frozenset({"INSERT", "UPDATE", "DELETE"}),
    "app_dataset_joins": frozenset({"DELETE"}),
    "apps": frozenset({"UPDATE"}),
    "child_chunks": frozenset({"INSERT", "UPDATE", "DELETE"}),
    "dataset_auto_disable_logs": frozenset({"DELETE"}),
    "dataset_collection_bindings": frozenset({"INSERT"}),
    "dataset_keyword_tables": frozenset({"INSERT", "UPDATE", "DELETE"}),
    "dataset_metadata_bindings": frozenset({"DELETE"}),
    "dataset_metadatas": frozenset({"DELETE"}),
    "dataset_process_rules": frozenset({"DELETE"}),
    "dataset_queries": frozenset({"DELETE"}),
    "datasets": frozenset({"UPDATE"}),
    "document_segments": frozenset({"INSERT", "UPDATE", "DELETE"}),
    "documents": frozenset({"UPDATE", "DELETE"}),
    "embeddings": frozenset({"INSERT", "UPDATE"}),
    "message_annotations": frozenset({"INSERT", "UPDATE"}),
    "providers": frozenset({"UPDATE"}),
    "upload_files": frozenset({"INSERT", "UPDATE", "DELETE"}),
    "workflow_draft_variable_files": frozenset({"UPDATE", "DELETE"}),
}
"""The platform's tables that handlers change. They read them too. A row lock needs the right UPDATE."""
LEDGER_RIGHTS: frozenset[Right] = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})


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
        *(_need(table, LEDGER_RIGHTS, is_ledger=True) for table in _sorted(ledger.metadata.tables.values())),
        *(
            _need(table, WRITES.get(table.name, frozenset()) | {"SELECT"}, is_ledger=False)
            for table in _sorted(models.metadata.tables.values())
            if _is_used(table.name, pools)
        ),
    ]


def _is_used(name: str, pools: Collection[PoolName]) -> bool:
    if {"default", "low"} & set(pools):
        return name in READS or name in WRITES
    return name in QUOTA_TABLES


def _need(table: Table, rights: frozenset[Right], *, is_ledger: bool) -> TableNeed:
    return TableNeed(table.fullname, frozenset(column.name for column in table.columns), rights, is_ledger)


def _sorted(found: Iterable[Table]) -> list[Table]:
    return sorted(found, key=lambda table: table.name)
