"""The trace provider that an app has chosen, and its configuration with the secrets decrypted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from streams.dify.credentials.tenant_secrets import TenantSecrets
from streams.dify.errors import RefusedError, Stopped
from streams.dify.models import App, TraceAppConfig
from streams.dify.models.json_text import read_object
from streams.dify.tenancy import of_event, one_tenant


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """What the rows say. Secrets are still encrypted."""

    tenant_id: str
    provider: str
    values: Mapping[str, object] = field(repr=False)


async def load_config(session: AsyncSession, app_id: str, tenant_id: str | None) -> TraceConfig:
    """Return the configuration of the provider that the app uses.

    Args:
        session: Reads the rows.
        app_id: The app.
        tenant_id: The tenant that the event names; None: it names none.

    Raises:
        Stopped: The app does not exist any more, or a person has turned its tracing off.
        RefusedError: The app uses a provider that is not configured.
        ForeignTenantError: The app belongs to another tenant.
    """
    app = (await session.execute(select(App.tenant_id, App.tracing).where(App.id == app_id))).one_or_none()
    one_tenant(of_event(tenant_id), (f"app {app_id}", app.tenant_id if app else None))
    if app is None:
        message = "the app does not exist any more"
        raise Stopped(message)
    chosen = read_object(app.tracing) or {}
    provider = chosen.get("tracing_provider")
    if not chosen.get("enabled") or not isinstance(provider, str) or not provider:
        message = "the app's tracing is turned off"
        raise Stopped(message)
    query = select(TraceAppConfig).where(TraceAppConfig.app_id == app_id, TraceAppConfig.tracing_provider == provider)
    row = await session.scalar(query.order_by(TraceAppConfig.created_at, TraceAppConfig.id).limit(1))
    if row is None:
        message = f"the app uses the trace provider {provider[:100]!r}, which is not configured for it"
        raise RefusedError(message)
    if not row.is_active:
        message = f"the configuration of the trace provider {provider[:100]!r} is not active"
        raise Stopped(message)
    return TraceConfig(app.tenant_id, provider, row.tracing_config or {})


async def read_values(config: TraceConfig, secrets: TenantSecrets) -> dict[str, str]:
    """Return the texts of a configuration, decrypted. Raises RefusedError, StorageAwayError."""
    texts = {name: value for name, value in config.values.items() if isinstance(value, str)}
    return {name: await secrets.decrypt(value) for name, value in texts.items()}
