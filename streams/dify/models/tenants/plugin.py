"""How plugins of a tenant are upgraded."""

from sqlalchemy import ARRAY, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import CreatedExactlyAt, Model, UuidKey, UuidText


class TenantPluginAutoUpgradeStrategy(Model):
    """When and which plugins of a tenant are upgraded."""

    __tablename__ = "tenant_plugin_auto_upgrade_strategies"
    __table_args__ = (UniqueConstraint("tenant_id", name="unique_tenant_plugin_auto_upgrade_strategy"),)

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    strategy_setting: Mapped[str] = mapped_column(String(16), server_default=text("'fix_only'"))
    """disabled, fix_only or latest."""
    upgrade_time_of_day: Mapped[int]
    """Seconds since midnight, UTC."""
    upgrade_mode: Mapped[str] = mapped_column(String(16), server_default=text("'exclude'"))
    """all, partial or exclude."""
    exclude_plugins: Mapped[list[str]] = mapped_column(ARRAY(String(255)))
    include_plugins: Mapped[list[str]] = mapped_column(ARRAY(String(255)))
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]
