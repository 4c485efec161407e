"""Reads rows of the platform for facts that a call does not give: tenants, the document of a segment, pipelines."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import TableClause, Text, Uuid, column, select, table
from sqlalchemy.orm import Session

from schemas import Event
from streams.publishing.bridges.errors import BridgeError


def _table(name: str, *columns: str) -> TableClause:
    return table(name, column("id", Uuid(as_uuid=False)), *(column(one, Uuid(as_uuid=False)) for one in columns))


_DATASETS = table(
    "datasets",
    column("id", Uuid(as_uuid=False)),
    column("tenant_id", Uuid(as_uuid=False)),
    column("runtime_mode", Text()),
    column("pipeline_id", Uuid(as_uuid=False)),
)
_SEGMENTS = _table("document_segments", "tenant_id", "dataset_id", "document_id")
_OWNERS = (
    ("dataset_id", _DATASETS),
    ("document_id", _table("documents", "tenant_id")),
    ("app_id", _table("apps", "tenant_id")),
)
"""A field of an event and the table of its row. The first field that an event has decides."""
PIPELINE = "rag_pipeline"
"""The `runtime_mode` of a dataset that a pipeline fills."""


@dataclass(frozen=True, slots=True)
class SegmentOwner:
    """Where a segment belongs."""

    tenant_id: str
    dataset_id: str
    document_id: str


def with_tenant(session: Session, event: Event) -> Event:
    """Return the event with the tenant of its dataset, document or app, if it has no tenant and the row exists."""
    if event.tenant_id is not None:
        return event
    for field, owners in _OWNERS:
        owner_id = getattr(event, field, None)
        if owner_id is not None:
            found = _read(session, owners, owner_id, "tenant_id")
            return event if found is None else event.model_copy(update={"tenant_id": found})
    return event


def is_of_pipeline(session: Session, dataset_id: str) -> bool:
    """Return True if a pipeline of the platform fills a dataset."""
    return _read(session, _DATASETS, dataset_id, "runtime_mode") == PIPELINE


def pipeline_of(session: Session, dataset_id: str) -> str | None:
    """Return the pipeline of a dataset. None: it has no pipeline, or its row is gone."""
    return _read(session, _DATASETS, dataset_id, "pipeline_id")


def owner_of_segment(session: Session, segment_id: str) -> SegmentOwner:
    """Return the document of a segment, with dataset and tenant. Raises BridgeError if there is no such segment."""
    columns = (_SEGMENTS.c.tenant_id, _SEGMENTS.c.dataset_id, _SEGMENTS.c.document_id)
    query = select(*columns).where(_SEGMENTS.c.id == segment_id)
    found = session.execute(query).one_or_none() if is_uuid(segment_id) else None
    if found is None:
        message = f"there is no segment {segment_id}"
        raise BridgeError(message)
    return SegmentOwner(*found)


def _read(session: Session, rows: TableClause, row_id: str, name: str) -> str | None:
    if not is_uuid(row_id):
        return None
    found: str | None = session.execute(select(rows.c[name]).where(rows.c.id == row_id)).scalar()
    return found


def is_uuid(value: object) -> bool:
    """Return True for a UUID. Other text would cause a database error, which aborts the sender's transaction."""
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True
