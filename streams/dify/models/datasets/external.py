"""Datasets whose knowledge is in another system."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped

from streams.dify.models.columns import CreatedAt, LongText, Model, UuidKey, UuidText


class ExternalKnowledgeBinding(Model):
    """A dataset that is kept by an external API."""

    __tablename__ = "external_knowledge_bindings"
    __table_args__ = (
        Index("external_knowledge_bindings_dataset_idx", "dataset_id"),
        Index("external_knowledge_bindings_external_knowledge_api_idx", "external_knowledge_api_id"),
        Index("external_knowledge_bindings_external_knowledge_idx", "external_knowledge_id"),
        Index("external_knowledge_bindings_tenant_idx", "tenant_id"),
    )

    id: Mapped[UuidKey]
    tenant_id: Mapped[UuidText]
    external_knowledge_api_id: Mapped[UuidText]
    dataset_id: Mapped[UuidText]
    external_knowledge_id: Mapped[LongText]
    created_by: Mapped[UuidText]
    created_at: Mapped[CreatedAt]
    updated_by: Mapped[UuidText | None]
    updated_at: Mapped[CreatedAt]
