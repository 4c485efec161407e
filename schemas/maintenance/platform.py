"""Events that ask for the platform's regular work for tenants."""

from datetime import datetime

from schemas.event import Event


class PluginChecksRequested(Event):
    """Request the check of plugins for each tenant whose time of the day has come since its last one.

    The first step of a run has no times and no cursor. It computes the times, and the following steps keep them.
    """

    since: datetime | None = None
    """A tenant that was never checked is checked if its time came after this."""
    until: datetime | None = None
    """Times of the day after this are for the next run."""
    cursor: str | None = None
    """The tenant at which the step before ended. Null: at the beginning."""


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
