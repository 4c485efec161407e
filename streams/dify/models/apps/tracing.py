"""Where the traces of apps are sent."""

from sqlalchemy import JSON, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import TRUE, Model, String255, UtcTime, UuidKey, UuidText


class TraceAppConfig(Model):
    """A trace provider that an app uses."""

    __tablename__ = "trace_app_config"
    __table_args__ = (Index("trace_app_config_app_id_idx", "app_id"),)

    id: Mapped[UuidKey]
    app_id: Mapped[UuidText]
    tracing_provider: Mapped[String255 | None]
    tracing_config: Mapped[dict[str, object] | None] = mapped_column(JSON(none_as_null=True))
    """The keys in it are encrypted."""
    created_at: Mapped[UtcTime] = mapped_column(server_default=text("now()"))
    updated_at: Mapped[UtcTime] = mapped_column(server_default=text("now()"))
    is_active: Mapped[bool] = mapped_column(server_default=TRUE)
