"""Locks the row of an app, so that one transaction at a time decides what belongs to the app."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.ids import checked_id
from streams.dify.models import App
from streams.dify.tenancy import of_event, one_tenant


async def lock_app(session: AsyncSession, app_id: str, event_tenant: str | None) -> App | None:
    """Lock an app until the transaction ends, and return its current row; None: the app was deleted.

    While the lock is held, no other transaction can lock, change or delete the row. So a deletion waits, and its
    clean-up finds what this transaction has inserted.

    Raises RefusedError if `app_id` is not a UUID, and ForeignTenantError if the app is not the event's tenant's.
    """
    app_id = checked_id("app_id", app_id)
    query = select(App).where(App.id == app_id).with_for_update(key_share=True)
    app = await session.scalar(query.execution_options(populate_existing=True))
    one_tenant(of_event(event_tenant), (f"app {app_id}", app.tenant_id if app is not None else None))
    return app
