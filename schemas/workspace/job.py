"""Events of jobs: a person waits in the console for their end."""

from typing import Literal

from schemas.event import Event

JobKind = Literal["segment-import", "annotation-import", "annotation-reply-enabling", "annotation-reply-disabling"]


class JobEnded(Event):
    """A job has ended. The console learns it from the job's keys in the platform's Redis."""

    kind: JobKind
    job_id: str
    error: str | None = None
    """Why the job has failed. Null: it is complete."""
