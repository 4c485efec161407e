"""Apps: what follows when one is created, configured, published or drafted.

They say which rows: a handler reads these, for the event may be older than they are.
"""

from pydantic import BaseModel, ConfigDict

from schemas.event import Event


class AppCreated(Event):
    """An app was created: it is to be installed for its tenant and, where an account made it, gets its site."""

    app_id: str
    account_id: str | None = None
    """Who created it; null where no person did: there is no site then."""
    interface_language: str | None = None
    """That account's, such as `en-US`: the site's default language."""


class AppModelConfigUpdated(Event):
    """An app got another model configuration: the datasets that it names are the ones joined to the app."""

    app_id: str
    app_model_config_id: str


class AppPublishedWorkflowUpdated(Event):
    """An app's workflow was published: the datasets of its retrieval nodes are the ones joined to the app."""

    app_id: str
    workflow_id: str


class ToolNode(BaseModel):
    """A node of a workflow that calls a tool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    node_id: str
    provider_type: str
    provider_id: str
    provider_name: str
    tool_name: str


class AppDraftWorkflowSynced(Event):
    """An app's draft was saved: the cached parameters of its tools must go.

    Carries the nodes, since the draft's row may have lost them by then.
    """

    app_id: str
    workflow_id: str
    tool_nodes: list[ToolNode]
