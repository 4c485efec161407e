"""The platform's 52 Celery tasks: their signatures, and the transaction of each event.

To replace another task, add a function with its signature that returns the event, and a line in its family's `TASKS`.
"""

from streams.publishing.bridges.platform_tasks import (
    annotations,
    cleanup,
    indexing,
    mails,
    segments,
    workflows,
    workspaces,
)
from streams.publishing.bridges.platform_tasks.task import PlatformTask

TASKS: tuple[PlatformTask, ...] = (
    *indexing.TASKS,
    *cleanup.TASKS,
    *segments.TASKS,
    *annotations.TASKS,
    *mails.TASKS,
    *workflows.TASKS,
    *workspaces.TASKS,
)
