"""Events of apps: created, configured, published, draft saved.

They contain ids. A handler reads the current rows, because the event may be older than they are.
"""

from pydantic import BaseModel, ConfigDict

from schemas.event import Event


class AppCreated(Event):
    """An app was created. It is installed for its tenant, and it gets a site if an account created it."""

    app_id: str
    account_id: str | None = None
    """The creator; null if no person created it: then there is no site."""
    interface_language: str | None = None
    """The account's language, such as `en-US`: the default language of the site."""


class AppModelConfigUpdated(Event):
    """An app got another model configuration. The datasets that it names are joined to the app."""

    app_id: str
    app_model_config_id: str


class AppPublishedWorkflowUpdated(Event):
    """An app's workflow was published. The datasets of its retrieval nodes are joined to the app."""

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
    """An app's draft was saved. The cached parameters of its tools must be deleted.

    Contains the nodes, because the draft's row may not contain them any more.
    """

    app_id: str
    workflow_id: str
    tool_nodes: list[ToolNode]


class AppDeleted(Event):
    """An app's row was deleted. Everything that belonged to it must be deleted: site, messages, runs, files.

    It is also published for the pipeline of a deleted dataset: its workflows and runs name it as their app.
    """

    app_id: str
