"""A handler for an event that has no built-in handler."""

from schemas import TenantUpdated
from streams.delivery import Work, handles


@handles(TenantUpdated)
async def welcome(event: TenantUpdated, work: Work) -> str:
    """Return a result that shows that the handler ran."""
    return f"{event.tenant_id} at attempt {work.attempt}"


HANDLERS = (welcome,)
