"""Handlers for new apps: install them, and create their sites."""

from schemas import AppCreated
from streams.agents.apps.app_row import GONE, lock_event_app
from streams.agents.error_mapping import mapped_errors
from streams.delivery import Work, handles
from streams.delivery.handler import JSON
from streams.dify.apps.installation import create_site, install_app


@handles(AppCreated)
async def create_installed_app(event: AppCreated, work: Work) -> JSON:
    """Install a new app for its tenant, once."""
    with mapped_errors():
        app = await lock_event_app(event, work)
        return GONE if app is None else {"created": await install_app(work.session, app)}


@handles(AppCreated)
async def create_site_record(event: AppCreated, work: Work) -> JSON:
    """Create the site of a new app, once. An app that no account created gets none."""
    with mapped_errors():
        app = await lock_event_app(event, work)
        if app is None:
            return GONE
        if not event.account_id:
            return {"skipped": "no account created the app"}
        created = await create_site(work.session, app, event.account_id, event.interface_language)
    return {"created": created}


HANDLERS = (create_installed_app, create_site_record)
