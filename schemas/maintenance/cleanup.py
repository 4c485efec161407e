"""Events that ask for the deletion of old data. Each is one step of a run; a step publishes the next one."""

from datetime import datetime

from schemas.event import Event


class CleanupRequested(Event):
    """The fields of all clean-ups. The first step of a run has no cutoff and no cursor."""

    cutoff: datetime | None = None
    """What is older is deleted. Null: the step computes it from its setting, and the following steps keep it."""
    cursor: str | None = None
    """Where the step before ended. Null: at the beginning."""


class EmbeddingCacheCleanupRequested(CleanupRequested):
    """Delete the cached embeddings that are older than the cutoff."""


class UnusedDatasetsCleanupRequested(CleanupRequested):
    """Remove the index of datasets that nobody has asked for since the cutoff, and disable their documents."""

    plan: str | None = None
    """Null: tenants of every plan, with a log for the notice by mail. A plan: only its tenants, without a log."""


class MessagesCleanupRequested(CleanupRequested):
    """Delete the messages that are older than the cutoff, of tenants whose plan says so."""


class WorkflowRunsCleanupRequested(CleanupRequested):
    """Delete the logs of workflow runs that are older than the cutoff."""
