"""Installs a new app for its tenant, and creates its site. A repetition changes nothing."""

import secrets
import string

from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.ids import checked_id, checked_text
from streams.dify.models import App, InstalledApp, Site

DEFAULT_LANGUAGE = "en-US"
"""The language of the site if the account has none."""
CODE_LENGTH = 16
"""The number of characters of a site's code, as the platform has them."""
NOT_ALLOWED = "not_allow"
"""The platform's value for a site whose users get no tokens of their own."""
_CODE_CHARACTERS = string.ascii_letters + string.digits


async def install_app(session: AsyncSession, app: App) -> bool:
    """Install an app for its own tenant. Returns False if it is installed already."""
    row = {"tenant_id": app.tenant_id, "app_id": app.id, "app_owner_tenant_id": app.tenant_id, "position": 0}
    statement = insert(InstalledApp).values(row).on_conflict_do_nothing(index_elements=["tenant_id", "app_id"])
    return await session.scalar(statement.returning(InstalledApp.id)) is not None


async def create_site(session: AsyncSession, app: App, account_id: str, language: str | None) -> bool:
    """Create the site of an app. Returns False if the app has a site.

    Args:
        session: The transaction. It must hold the lock of the app's row, because no constraint keeps sites unique.
        app: The app.
        account_id: The account that created the app.
        language: The language of the account; None: the platform's default.

    Raises:
        RefusedError: The account's id is not a UUID, or no column can contain the language.
    """
    account_id = checked_id("account_id", account_id)
    language = checked_text("interface_language", language or DEFAULT_LANGUAGE)
    if await session.scalar(select(exists().where(Site.app_id == app.id))):
        return False
    session.add(
        Site(
            app_id=app.id,
            title=app.name,
            icon_type=app.icon_type,
            icon=app.icon,
            icon_background=app.icon_background,
            default_language=language,
            customize_token_strategy=NOT_ALLOWED,
            custom_disclaimer="",
            code="".join(secrets.choice(_CODE_CHARACTERS) for _ in range(CODE_LENGTH)),
            created_by=app.created_by or account_id,
            updated_by=app.updated_by or account_id,
        )
    )
    await session.flush()
    return True
