"""Checks that what an event of a workflow names belongs to the event's tenant: one statement for many events."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.errors import ForeignTenantError

Kind = Literal["app", "workflow", "run"]


@dataclass(frozen=True, slots=True)
class Owned:
    """Something that an event names, and the event's tenant. It need not exist (any more)."""

    kind: Kind
    id: str
    tenant_id: str


# The app of a pipeline's run is the pipeline itself.
_FOREIGN = text("""
with named as (
    select * from unnest(cast(:kinds as text[]), cast(:ids as uuid[]), cast(:tenants as uuid[])) as n (kind, id, tenant)
)
select 'app', n.id::text from named n join apps t on t.id = n.id where n.kind = 'app' and t.tenant_id <> n.tenant
union all
select 'app', n.id::text from named n join pipelines t on t.id = n.id where n.kind = 'app' and t.tenant_id <> n.tenant
union all
select 'workflow', n.id::text from named n join workflows t on t.id = n.id
where n.kind = 'workflow' and t.tenant_id <> n.tenant
union all
select 'workflow run', n.id::text from named n join workflow_runs t on t.id = n.id
where n.kind = 'run' and t.tenant_id <> n.tenant
limit 1
""")


async def check_owned(session: AsyncSession, named: Collection[Owned]) -> None:
    """Raise ForeignTenantError if one of these exists and belongs to another tenant than the event that names it."""
    distinct = sorted(set(named), key=lambda one: (one.kind, one.id, one.tenant_id))
    columns = {
        "kinds": [one.kind for one in distinct],
        "ids": [one.id for one in distinct],
        "tenants": [one.tenant_id for one in distinct],
    }
    found = (await session.execute(_FOREIGN, columns)).first()
    if found is not None:
        what, id_ = found
        message = f"{what} {id_} belongs to another tenant than the event"
        raise ForeignTenantError(message)
