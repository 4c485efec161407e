"""The platform's ten signals as events: what becomes of sender and arguments, and which transaction is theirs.

The platform's classes are not at hand here, so their attributes are read by name.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Literal

from sqlalchemy.orm import object_session

from schemas import (
    AppCreated,
    AppDraftWorkflowSynced,
    AppModelConfigUpdated,
    AppPublishedWorkflowUpdated,
    DatasetDeleted,
    DocumentDeleted,
    DocumentIndexCreated,
    Event,
    MessageCreated,
    TenantCreated,
    TenantUpdated,
)
from streams.publishing.bridges.sender_transaction import BridgeError

Arguments = Mapping[str, object]
"""What a signal is sent with, beside its sender."""
ModelCredits = Callable[[str], int]
"""What a message of a model costs where the quota counts credits."""

CHARGED = {"ChatAppGenerateEntity", "AgentChatAppGenerateEntity"}
"""The kinds of apps whose messages are charged; completion apps' are not."""
DEFAULT_FORM = "text_model"
"""What the platform takes a dataset for that does not say its form."""
TOOL = "tool"


@dataclass(frozen=True, slots=True)
class PlatformSignal:
    """One signal and its event."""

    name: str
    """Its wire name: that of `blinker.signal`."""
    event: type[Event]
    event_of: Callable[[object, Arguments], Event | None]
    """Sender and arguments → event; None: nothing follows. Raises BridgeError."""
    transaction: Literal["sender's", "own"]
    """Own: some path sends it after its commit, or no path is known."""
    carrier: str | None = None
    """The argument whose session has the sender's transaction; None: the sender."""


def platform_signals(model_credits: ModelCredits) -> tuple[PlatformSignal, ...]:
    """All ten."""
    return (
        PlatformSignal("app-was-created", AppCreated, app_created, "own"),
        PlatformSignal("app-model-config-was-updated", AppModelConfigUpdated, model_config_updated, "own"),
        PlatformSignal(
            "app-published-workflow-was-updated",
            AppPublishedWorkflowUpdated,
            published_workflow_updated,
            "sender's",
            # The app comes from another session than the one in which its workflow is published.
            carrier="published_workflow",
        ),
        PlatformSignal("app-draft-workflow-was-synced", AppDraftWorkflowSynced, draft_workflow_synced, "own"),
        PlatformSignal("dataset-was-deleted", DatasetDeleted, dataset_deleted, "sender's"),
        PlatformSignal("document-was-deleted", DocumentDeleted, document_deleted, "sender's"),
        PlatformSignal("document-index-created", DocumentIndexCreated, document_index_created, "own"),
        PlatformSignal(
            "message-was-created", MessageCreated, partial(message_created, model_credits=model_credits), "sender's"
        ),
        PlatformSignal("tenant-was-created", TenantCreated, tenant_created, "own"),
        PlatformSignal("tenant-was-updated", TenantUpdated, tenant_updated, "own"),
    )


def app_created(app: object, arguments: Arguments) -> AppCreated:
    """Sender: the app; `account`: who made it, or None."""
    account = arguments.get("account")
    return AppCreated(
        app_id=identity(app),
        tenant_id=text(app, "tenant_id"),
        account_id=None if account is None else identity(account),
        interface_language=None if account is None else text_or_none(account, "interface_language"),
    )


def model_config_updated(app: object, arguments: Arguments) -> AppModelConfigUpdated:
    """Sender: the app; `app_model_config`: its new configuration."""
    return AppModelConfigUpdated(
        app_id=identity(app),
        tenant_id=text(app, "tenant_id"),
        app_model_config_id=identity(argument(arguments, "app_model_config")),
    )


def published_workflow_updated(app: object, arguments: Arguments) -> AppPublishedWorkflowUpdated:
    """Sender: the app; `published_workflow`."""
    return AppPublishedWorkflowUpdated(
        app_id=identity(app),
        tenant_id=text(app, "tenant_id"),
        workflow_id=identity(argument(arguments, "published_workflow")),
    )


def draft_workflow_synced(app: object, arguments: Arguments) -> AppDraftWorkflowSynced:
    """Sender: the app; `synced_draft_workflow`, whose `graph` is JSON. A tool node that lacks a name has no cache."""
    workflow = argument(arguments, "synced_draft_workflow")
    return AppDraftWorkflowSynced.model_validate(
        {
            "app_id": identity(app),
            "tenant_id": text(app, "tenant_id"),
            "workflow_id": identity(workflow),
            "tool_nodes": tool_nodes(text_or_none(workflow, "graph") or "{}"),
        }
    )


def tool_nodes(graph: str) -> list[dict[str, str]]:
    """The fields of `ToolNode` for each node of a workflow's graph that calls a tool. Raises BridgeError."""
    try:
        nodes = json.loads(graph).get("nodes", [])
    except (ValueError, AttributeError) as error:
        message = f"the workflow's graph is no JSON object: {error}"
        raise BridgeError(message) from error
    names = ("provider_type", "provider_id", "provider_name", "tool_name")
    found = []
    for node in nodes if isinstance(nodes, list) else []:
        match node:
            case {"id": node_id, "data": {"type": kind, **data}} if kind == TOOL and all(data.get(n) for n in names):
                found.append({"node_id": str(node_id), **{name: str(data[name]) for name in names}})
    return found


def dataset_deleted(dataset: object, _: Arguments) -> DatasetDeleted:
    """Sender: the dataset, whose row is still there. One that never had a document is cleaned up like any other."""
    return DatasetDeleted(
        dataset_id=identity(dataset),
        tenant_id=text(dataset, "tenant_id"),
        indexing_technique=text_or_none(dataset, "indexing_technique"),
        index_struct=text_or_none(dataset, "index_struct"),
        collection_binding_id=text_or_none(dataset, "collection_binding_id"),
        doc_form=text_or_none(dataset, "doc_form"),
    )


def document_deleted(document_id: object, arguments: Arguments) -> DocumentDeleted:
    """Sender: the document's id; `dataset_id`, `doc_form`, `file_id` or None."""
    file_id = arguments.get("file_id")
    return DocumentDeleted(
        document_id=str(document_id),
        dataset_id=str(argument(arguments, "dataset_id")),
        doc_form=str(arguments.get("doc_form") or DEFAULT_FORM),
        file_id=str(file_id) if file_id else None,
    )


def document_index_created(dataset_id: object, arguments: Arguments) -> DocumentIndexCreated:
    """Sender: the dataset's id; `document_ids`."""
    document_ids = argument(arguments, "document_ids")
    return DocumentIndexCreated.model_validate({"dataset_id": str(dataset_id), "document_ids": document_ids})


def message_created(message: object, arguments: Arguments, *, model_credits: ModelCredits) -> MessageCreated | None:
    """Sender: the message; `application_generate_entity`: whose app and model it is of. None: it is not charged."""
    entity = argument(arguments, "application_generate_entity")
    if CHARGED.isdisjoint(kind.__name__ for kind in type(entity).__mro__):
        return None
    used = attribute(entity, "model_conf")
    configuration = attribute(used, "provider_model_bundle", "configuration")
    provider, model = text(used, "provider"), text(used, "model")
    provider_type = plain(attribute(configuration, "using_provider_type"))
    quota = current_quota(attribute(configuration, "system_configuration")) if provider_type == "system" else {}
    return MessageCreated.model_validate(
        {
            "message_id": identity(message),
            "app_id": text(message, "app_id"),
            "tenant_id": text(attribute(entity, "app_config"), "tenant_id"),
            "provider_name": provider.rpartition("/")[2],
            "provider_name_long": provider if "/" in provider else None,
            "model": model,
            "provider_type": provider_type,
            **quota,
            "message_tokens": attribute(message, "message_tokens"),
            "answer_tokens": attribute(message, "answer_tokens"),
            "credits": model_credits(model) if quota.get("quota_unit") == "credits" else None,
        }
    )


def current_quota(system: object) -> dict[str, object]:
    """Type, unit and limit of the quota that a system provider charges now; empty: it charges none."""
    current = None if system is None else plain(attribute(system, "current_quota_type"))
    if current is None:
        return {}
    configurations = attribute(system, "quota_configurations")
    for one in configurations if isinstance(configurations, list | tuple) else ():
        if plain(attribute(one, "quota_type")) == current:
            unit, limit = plain(attribute(one, "quota_unit")), attribute(one, "quota_limit")
            return {"quota_type": current, "quota_unit": unit, "quota_limit": limit}
    return {"quota_type": current}


def tenant_created(tenant: object, _: Arguments) -> TenantCreated:
    """Sender: the tenant."""
    return TenantCreated(tenant_id=identity(tenant))


def tenant_updated(tenant: object, _: Arguments) -> TenantUpdated:
    """Sender: the tenant."""
    return TenantUpdated(tenant_id=identity(tenant))


def credits_by_model(configured: str) -> ModelCredits:
    """Credits as the platform configures them (HOSTED_MODEL_CREDIT_CONFIG): ``gpt-4:20,gpt-4o:10``, any other costs 1.

    Raises BridgeError.
    """
    try:
        known = {
            model.strip(): int(cost)
            for model, separator, cost in (part.rpartition(":") for part in configured.split(","))
            if separator
        }
    except ValueError as error:
        message = f"HOSTED_MODEL_CREDIT_CONFIG is not model:credits,model:credits: {error}"
        raise BridgeError(message) from error
    return lambda model: known.get(model, 1)


def attribute(of: object, *path: str) -> object:
    """What is found along a path of attributes. Raises BridgeError where one is missing."""
    for name in path:
        try:
            of = getattr(of, name)
        except AttributeError as error:
            message = f"{type(of).__name__} has no {name}: the platform's classes are not those of Dify 1.9"
            raise BridgeError(message) from error
    return of


def argument(arguments: Arguments, name: str) -> object:
    """An argument that has to be there. Raises BridgeError."""
    found = arguments.get(name)
    if found is None:
        message = f"it was sent without {name}"
        raise BridgeError(message)
    return found


def text(of: object, name: str) -> str:
    """An attribute that has to have a value, as text. Raises BridgeError."""
    found = text_or_none(of, name)
    if found is None:
        message = f"{type(of).__name__}.{name} is empty"
        raise BridgeError(message)
    return found


def text_or_none(of: object, name: str) -> str | None:
    """An attribute as text."""
    found = plain(attribute(of, name))
    return None if found is None else str(found)


def plain(value: object) -> object:
    """The value that an enum's member stands for; anything else as it is."""
    return value.value if isinstance(value, Enum) else value


def identity(row: object) -> str:
    """A row's id. One that the database has still to give is asked for by a flush. Raises BridgeError."""
    if attribute(row, "id") is None and (session := object_session(row)) is not None:
        session.flush()
    return text(row, "id")
