"""Locks the app of an event. Tells an app that was deleted from one that is not committed yet."""

from datetime import UTC, datetime, timedelta

from schemas import AppCreated, AppModelConfigUpdated, AppPublishedWorkflowUpdated
from streams.delivery import Retry, Work
from streams.delivery.handler import JSON
from streams.dify.apps.app_lock import lock_app
from streams.dify.models import App

COMMITTED_WITHIN = timedelta(minutes=5)
"""The time that a sender gets to commit its app. The platform may send a signal before its commit."""
GONE: dict[str, JSON] = {"skipped": "the app was deleted"}
"""The result for an app that has no row any more."""


async def lock_event_app(
    event: AppCreated | AppModelConfigUpdated | AppPublishedWorkflowUpdated, work: Work
) -> App | None:
    """Lock the app of an event and return its current row; None: the app was deleted.

    Raises Retry if the app has no row and the event is younger than `COMMITTED_WITHIN`, and the same as `lock_app`.
    """
    app = await lock_app(work.session, event.app_id, event.tenant_id)
    if app is None and datetime.now(tz=UTC) - event.occurred_at < COMMITTED_WITHIN:
        message = f"app {event.app_id} has no row (yet)"
        raise Retry(message)
    return app
