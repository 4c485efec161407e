"""Events of tenants."""

from schemas.event import Event


class TenantCreated(Event):
    """A tenant was created."""

    tenant_id: str


class TenantUpdated(Event):
    """A tenant was changed."""

    tenant_id: str
