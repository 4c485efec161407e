"""Requests that were refused."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from streams.dify.models.columns import CreatedAt, Model, String255, UuidKey, UuidText


class RateLimitLog(Model):
    """A request of a tenant was refused, because it sent too many."""

    __tablename__ = "rate_limit_logs"
    __table_args__ = (
        Index("rate_limit_log_operation_idx", "operation"),
        Index("rate_limit_log_tenant_idx", "tenant_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    subscription_plan: Mapped[String255]
    operation: Mapped[String255]
    created_at: Mapped[CreatedAt]
