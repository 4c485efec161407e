"""Events that ask for the platform's regular work for tenants."""

from schemas.event import Event


class PluginChecksRequested(Event):
    """Request the check of plugins for each tenant whose time of the day has come since its last one."""


class DocumentNoticesRequested(Event):
    """Tell the owners of tenants by mail which of their documents were disabled."""

    cursor: str | None = None
    """The tenant at which the step before ended. Null: at the beginning."""


class TidbClustersRequested(Event):
    """Create TiDB serverless clusters until enough are free."""


class TidbStatusRequested(Event):
    """Ask for the state of the TiDB serverless clusters that are being created."""

    cursor: str | None = None
    """The binding at which the step before ended. Null: at the beginning."""
