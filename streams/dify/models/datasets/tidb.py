"""Vector databases that are rented from TiDB."""

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import FALSE, CreatedAt, Model, String255, UuidKey, UuidText


class TidbAuthBinding(Model):
    """A cluster, of a tenant or still free."""

    __tablename__ = "tidb_auth_bindings"
    __table_args__ = (
        Index("tidb_auth_bindings_active_idx", "active"),
        Index("tidb_auth_bindings_created_at_idx", "created_at"),
        Index("tidb_auth_bindings_status_idx", "status"),
        Index("tidb_auth_bindings_tenant_idx", "tenant_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText | None]
    cluster_id: Mapped[String255]
    cluster_name: Mapped[String255]
    active: Mapped[bool] = mapped_column(server_default=FALSE)
    status: Mapped[String255] = mapped_column(server_default=text("'CREATING'"))
    """CREATING, then ACTIVE."""
    account: Mapped[String255]
    password: Mapped[String255]
    created_at: Mapped[CreatedAt]
