"""A handler for an event of the catalogue that may have none yet: whatever it says, its event is welcome."""

from schemas import TenantUpdated
from streams.delivery import Work, handles


@handles(TenantUpdated)
async def welcome(event: TenantUpdated, work: Work) -> str:
    """What is returned shows that it ran."""
    return f"{event.tenant_id} at attempt {work.attempt}"


HANDLERS = (welcome,)
