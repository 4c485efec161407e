"""The platform's ten signals: their events, and the transaction in which each event is published.

The platform's classes cannot be imported here, so their attributes are read by name.
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
from streams.publishing.bridges.errors import BridgeError

Arguments = Mapping[str, object]
"""A signal's arguments besides its sender."""
ModelCredits = Callable[[str], int]
"""Returns the cost of a model's message if the quota counts credits."""

CHARGED_ENTITIES = {"ChatAppGenerateEntity", "AgentChatAppGenerateEntity"}
"""The kinds of apps whose messages are charged. Messages of completion apps are not."""
DEFAULT_FORM = "text_model"
"""The form that the platform uses for a dataset without a form."""
TOOL = "tool"


@dataclass(frozen=True, slots=True)
class PlatformSignal:
    """One signal and its event."""

    name: str
    """The name for `blinker.signal`."""
    event: type[Event]
    to_event: Callable[[object, Arguments], Event | None]
    """Returns the event for a sender and its arguments. None: publish no event. Raises BridgeError."""
    transaction: Literal["sender's", "own"]
    """`"own"` if the platform may send the signal after its commit, or if this is unknown."""
    session_argument: str | None = None
    """The argument whose session has the sender's transaction. None: the sender itself."""


def platform_signals(model_credits: ModelCredits) -> tuple[PlatformSignal, ...]:
    """Return all ten signals."""
    return (
        PlatformSignal("app-was-created", AppCreated, app_created, "own"),
        PlatformSignal("app-model-config-was-updated", AppModelConfigUpdated, model_config_updated, "own"),
        PlatformSignal(
            "app-published-workflow-was-updated",
            AppPublishedWorkflowUpdated,
            published_workflow_updated,
            "sender's",
            # The app belongs to another session than the one in which its workflow is published.
            session_argument="published_workflow",
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
    """Return the event of a new app. Sender: the app. `account`: its creator, or None."""
    account = arguments.get("account")
    return AppCreated(
        app_id=row_id(app),
        tenant_id=text(app, "tenant_id"),
        account_id=None if account is None else row_id(account),
        interface_language=None if account is None else text_or_none(account, "interface_language"),
    )


def model_config_updated(app: object, arguments: Arguments) -> AppModelConfigUpdated:
    """Return the event of a changed app. Sender: the app. `app_model_config`: its new configuration."""
    return AppModelConfigUpdated(
        app_id=row_id(app),
        tenant_id=text(app, "tenant_id"),
        app_model_config_id=row_id(argument(arguments, "app_model_config")),
    )


def published_workflow_updated(app: object, arguments: Arguments) -> AppPublishedWorkflowUpdated:
    """Return the event of a published workflow. Sender: the app. `published_workflow`: its workflow."""
    return AppPublishedWorkflowUpdated(
        app_id=row_id(app),
        tenant_id=text(app, "tenant_id"),
        workflow_id=row_id(argument(arguments, "published_workflow")),
    )


def draft_workflow_synced(app: object, arguments: Arguments) -> AppDraftWorkflowSynced:
    """Return the event of a saved draft. Sender: the app. `synced_draft_workflow`: its `graph` is JSON.

    A tool node without all its names is left out: it has no cache.
    """
    workflow = argument(arguments, "synced_draft_workflow")
    return AppDraftWorkflowSynced.model_validate(
        {
            "app_id": row_id(app),
            "tenant_id": text(app, "tenant_id"),
            "workflow_id": row_id(workflow),
            "tool_nodes": tool_nodes(text_or_none(workflow, "graph") or "{}"),
        }
    )


def tool_nodes(graph: str) -> list[dict[str, str]]:
    """Return the fields of `ToolNode` for each node of a workflow's graph that calls a tool. Raises BridgeError."""
    try:
        nodes = json.loads(graph).get("nodes", [])
    except (ValueError, RecursionError, AttributeError) as error:
        message = f"the workflow's graph is not a JSON object: {error}"
        raise BridgeError(message) from error
    names = ("provider_type", "provider_id", "provider_name", "tool_name")
    found = []
    for node in nodes if isinstance(nodes, list) else []:
        match node:
            case {"id": node_id, "data": {"type": kind, **data}} if kind == TOOL and all(data.get(n) for n in names):
                found.append({"node_id": str(node_id), **{name: str(data[name]) for name in names}})
    return found


def dataset_deleted(dataset: object, _: Arguments) -> DatasetDeleted:
    """Return the event of a deleted dataset. Sender: the dataset, whose row still exists.

    A dataset without documents is cleaned up like any other.
    """
    return DatasetDeleted(
        dataset_id=row_id(dataset),
        tenant_id=text(dataset, "tenant_id"),
        indexing_technique=text_or_none(dataset, "indexing_technique"),
        index_struct=text_or_none(dataset, "index_struct"),
        collection_binding_id=text_or_none(dataset, "collection_binding_id"),
        doc_form=text_or_none(dataset, "doc_form"),
        pipeline_id=text_or_none(dataset, "pipeline_id"),
    )


def document_deleted(document_id: object, arguments: Arguments) -> DocumentDeleted:
    """Return the event of a deleted document. Sender: its id. Arguments: `dataset_id`, `doc_form`, `file_id`."""
    file_id = arguments.get("file_id")
    return DocumentDeleted(
        document_id=str(document_id),
        dataset_id=str(argument(arguments, "dataset_id")),
        doc_form=str(arguments.get("doc_form") or DEFAULT_FORM),
        file_id=str(file_id) if file_id else None,
    )


def document_index_created(dataset_id: object, arguments: Arguments) -> DocumentIndexCreated:
    """Return the event of new documents. Sender: the dataset's id. Argument: `document_ids`."""
    document_ids = argument(arguments, "document_ids")
    return DocumentIndexCreated.model_validate({"dataset_id": str(dataset_id), "document_ids": document_ids})


def message_created(message: object, arguments: Arguments, *, model_credits: ModelCredits) -> MessageCreated | None:
    """Return the event of a new message, or None if it is not charged. Sender: the message.

    `application_generate_entity` has the message's app and model.
    """
    entity = argument(arguments, "application_generate_entity")
    if CHARGED_ENTITIES.isdisjoint(kind.__name__ for kind in type(entity).__mro__):
        return None
    used = attribute(entity, "model_conf")
    configuration = attribute(used, "provider_model_bundle", "configuration")
    provider, model = text(used, "provider"), text(used, "model")
    provider_type = enum_value(attribute(configuration, "using_provider_type"))
    quota = current_quota(attribute(configuration, "system_configuration")) if provider_type == "system" else {}
    return MessageCreated.model_validate(
        {
            "message_id": row_id(message),
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
    """Return type, unit and limit of the quota that a system provider charges now. Empty: it charges none."""
    current = None if system is None else enum_value(attribute(system, "current_quota_type"))
    if current is None:
        return {}
    configurations = attribute(system, "quota_configurations")
    for one in configurations if isinstance(configurations, list | tuple) else ():
        if enum_value(attribute(one, "quota_type")) == current:
            unit, limit = enum_value(attribute(one, "quota_unit")), attribute(one, "quota_limit")
            return {"quota_type": current, "quota_unit": unit, "quota_limit": limit}
    return {"quota_type": current}


def tenant_created(tenant: object, _: Arguments) -> TenantCreated:
    """Return the event of a new tenant. Sender: the tenant."""
    return TenantCreated(tenant_id=row_id(tenant))


def tenant_updated(tenant: object, _: Arguments) -> TenantUpdated:
    """Return the event of a changed tenant. Sender: the tenant."""
    return TenantUpdated(tenant_id=row_id(tenant))


def credits_by_model(configured: str) -> ModelCredits:
    """Parse credits as in the platform's HOSTED_MODEL_CREDIT_CONFIG: ``gpt-4:20,gpt-4o:10``. Other models cost 1.

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
    """Return the value at the end of a path of attributes. Raises BridgeError if one is missing."""
    for name in path:
        try:
            of = getattr(of, name)
        except AttributeError as error:
            message = f"{type(of).__name__} has no {name}: the platform's classes are not those of Dify 1.9"
            raise BridgeError(message) from error
    return of


def argument(arguments: Arguments, name: str) -> object:
    """Return a required argument. Raises BridgeError if it is missing."""
    found = arguments.get(name)
    if found is None:
        message = f"it was sent without {name}"
        raise BridgeError(message)
    return found


def text(of: object, name: str) -> str:
    """Return a required attribute as text. Raises BridgeError if it is empty."""
    found = text_or_none(of, name)
    if found is None:
        message = f"{type(of).__name__}.{name} is empty"
        raise BridgeError(message)
    return found


def text_or_none(of: object, name: str) -> str | None:
    """Return an attribute as text, or None."""
    found = enum_value(attribute(of, name))
    return None if found is None else str(found)


def enum_value(value: object) -> object:
    """Return the value of an enum's member; any other value unchanged."""
    return value.value if isinstance(value, Enum) else value


def row_id(row: object) -> str:
    """Return a row's id as text. If the database has not assigned it yet, flush first. Raises BridgeError."""
    if attribute(row, "id") is None and (session := object_session(row)) is not None:
        session.flush()
    return text(row, "id")
