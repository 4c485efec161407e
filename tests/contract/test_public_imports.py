"""The public import paths: what a program outside of this project may import, and what it then does not load."""

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from tests.support.pages import ROOT, pages

PUBLIC: Mapping[str, tuple[str, ...]] = {
    "streams.codec": (
        "Codec",
        "DecodeError",
        "EncodedEvent",
        "PayloadElsewhereError",
        "SchemaMissingError",
        "SealedError",
        "Ticket",
        "TicketError",
        "build_codec",
        "default_codec",
    ),
    "streams.database": (
        "Database",
        "DatabaseNotMigratedError",
        "DatabaseUnavailableError",
        "check_database",
        "database_url",
        "sync_engine",
    ),
    "streams.delivery": (
        "Backoff",
        "BrokenTransactionError",
        "CancelledError",
        "ComputeCrashedError",
        "ExpiredError",
        "Handler",
        "LeaseLostError",
        "OutOfMemoryError",
        "Permanent",
        "ProcessExitError",
        "ProcessorTimeExceededError",
        "Reason",
        "ResourceBusyError",
        "Retry",
        "SoftTimeLimitExceeded",
        "TimeLimitExceeded",
        "UnaskedCancellationError",
        "Unavailable",
        "Work",
        "handles",
    ),
    "streams.dify.models": (
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
    ),
    "streams.dify.platform": ("Platform", "build_platform"),
    "streams.dify.search": ("Passage", "passages"),
    "streams.publishing": (
        "AsyncEventProducer",
        "BadEventError",
        "BridgeError",
        "CeleryTasks",
        "EventProducer",
        "Outbox",
        "PublishError",
        "SignalBridge",
        "blinker_bridge",
        "celery_tasks",
        "connect_signals",
    ),
    "streams.schedules": ("Schedule", "ScheduleError", "continue_run"),
    "streams.settings": ("POOL_NAMES", "PoolName", "Settings", "SettingsError", "load_settings"),
    "streams.storage": (
        "FileMissingError",
        "Folder",
        "InThreads",
        "Storage",
        "StorageAwayError",
        "StorageKeyError",
        "Store",
        "open_storage",
        "open_store",
    ),
    "streams.testing": ("Published", "Run", "run"),
    "streams.transport": (
        "BrokersUnreachableError",
        "NotSupportedError",
        "ProduceError",
        "StartError",
        "TransportError",
    ),
    "streams.topics": (
        "BUILT_IN",
        "POOLS",
        "Catalogue",
        "Pool",
        "Topic",
        "UnknownEventError",
        "load_catalogue",
        "load_topics",
    ),
}
DOCUMENTED_ONLY = {("streams.observability.redaction", "masked_event")}
"""Imported on a page to show what the pipeline does; not promised to programs."""


@pytest.mark.requirement("Source tree and packaging", "public import paths are listed and stay")
@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_each_public_name_resolves(module: str, name: str) -> None:
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.requirement("Source tree and packaging", "public import paths are listed and stay")
@pytest.mark.parametrize("module", PUBLIC)
def test_a_module_declares_its_public_names(module: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == sorted(PUBLIC[module])


def test_documentation_and_examples_import_public_names_only() -> None:
    found = set(_documented())
    assert {("streams.delivery", "handles"), ("streams.dify.search", "passages")} <= found
    promised = {(module, name) for module, names in PUBLIC.items() for name in names}
    assert found - promised == DOCUMENTED_ONLY


@pytest.mark.requirement("Source tree and packaging", "a producer loads nothing that only workers need")
def test_publishing_loads_neither_faust_nor_what_only_workers_need() -> None:
    """A producer in another service has none of them: they come with the extra `worker`."""
    of_workers = {"faust", "mode", "psycopg", "sqlalchemy.ext.asyncio", "structlog", "typer"}
    assert _loaded("import streams.publishing") & of_workers == set()


def test_no_public_module_loads_faust() -> None:
    loaded = _loaded("; ".join(f"import {module}" for module in PUBLIC))
    assert set(PUBLIC) <= loaded
    assert loaded & {"faust", "mode"} == set()


def _documented() -> Iterator[tuple[str, str]]:
    """The names of `streams` that pages and examples import, with their modules."""
    pieces = [block.text for page in pages() for block in page.blocks if block.language == "python"]
    pieces += [path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")]
    for piece in pieces:
        for node in ast.walk(ast.parse(piece)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "streams":
                yield from ((str(node.module), alias.name) for alias in node.names)


def _loaded(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after this code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))
