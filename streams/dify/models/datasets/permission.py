"""Who may use a dataset."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import TRUE, CreatedAt, Model, UuidKey, UuidText


class DatasetPermission(Model):
    """An account may use a dataset whose permission is `partial_members`."""

    __tablename__ = "dataset_permissions"
    __table_args__ = (
        Index("idx_dataset_permissions_account_id", "account_id"),
        Index("idx_dataset_permissions_dataset_id", "dataset_id"),
        Index("idx_dataset_permissions_tenant_id", "tenant_id"),
    )

    id: Mapped[UuidKey]
    dataset_id: Mapped[UuidText]
    account_id: Mapped[UuidText]
    has_permission: Mapped[bool] = mapped_column(server_default=TRUE)
    created_at: Mapped[CreatedAt]
    tenant_id: Mapped[UuidText]
