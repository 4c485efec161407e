"""Imports of annotations: the rows of a job are inserted once, whatever is repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from sqlalchemy import any_, exists, insert, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.ids import storable
from streams.dify.models import MessageAnnotation

_ANNOTATIONS = UUID("7a0f4a52-0d6d-5b0e-8a57-3f6c2e9d1b84")
MAX_ROWS_PER_STATEMENT = 1000


@dataclass(frozen=True, slots=True)
class AnnotationImport:
    """A job that adds annotations to an app."""

    job_id: str
    app_id: str
    account_id: str
    rows: Sequence[tuple[str, str]]
    """Questions and answers."""

    @property
    def annotation_ids(self) -> list[str]:
        """The ids of the job's annotations. They are the same each time."""
        return [str(uuid5(_ANNOTATIONS, f"{self.app_id}/{self.job_id}/{number}")) for number in range(len(self.rows))]


async def insert_annotations(session: AsyncSession, job: AnnotationImport) -> int:
    """Insert all annotations of a job in one transaction. Returns their number; 0 if an earlier attempt has done it.

    An annotation that a person has deleted since then is not inserted again. The caller has locked the app.
    """
    ids = job.annotation_ids
    named = literal(ids, ARRAY(MessageAnnotation.id.type))
    if await session.scalar(select(exists().where(MessageAnnotation.id == any_(named)))):
        return 0
    rows = [
        {
            "id": annotation_id,
            "app_id": job.app_id,
            "question": storable(question),
            "content": storable(answer),
            "account_id": job.account_id,
        }
        for annotation_id, (question, answer) in zip(ids, job.rows, strict=True)
    ]
    for start in range(0, len(rows), MAX_ROWS_PER_STATEMENT):
        await session.execute(insert(MessageAnnotation), rows[start : start + MAX_ROWS_PER_STATEMENT])
    return len(rows)
