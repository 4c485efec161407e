"""Variables of draft workflows."""

from sqlalchemy import BigInteger, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from streams.dify.models.columns import (
    FALSE,
    CreatedExactlyAt,
    LongText,
    Model,
    OrderedUuidKey,
    String255,
    UtcTime,
    UuidKey,
    UuidText,
)


class WorkflowDraftVariable(Model):
    """The last value of a variable in the editor, as JSON text."""

    __tablename__ = "workflow_draft_variables"
    __table_args__ = (
        Index("workflow_draft_variable_file_id_idx", "file_id"),
        UniqueConstraint("app_id", "node_id", "name", name="workflow_draft_variables_app_id_key"),
    )

    id: Mapped[UuidKey]
    created_at: Mapped[CreatedExactlyAt]
    updated_at: Mapped[CreatedExactlyAt]
    app_id: Mapped[UuidText]
    last_edited_at: Mapped[UtcTime | None]
    node_id: Mapped[String255]
    name: Mapped[String255]
    description: Mapped[String255]
    selector: Mapped[String255]
    value_type: Mapped[str] = mapped_column(String(20))
    value: Mapped[LongText]
    visible: Mapped[bool]
    editable: Mapped[bool]
    node_execution_id: Mapped[UuidText | None]
    file_id: Mapped[UuidText | None]
    """A row of workflow_draft_variable_files, if the value is large."""
    is_default_value: Mapped[bool] = mapped_column(server_default=FALSE)


class WorkflowDraftVariableFile(Model):
    """The file of a variable with a large value."""

    __tablename__ = "workflow_draft_variable_files"

    id: Mapped[OrderedUuidKey]
    created_at: Mapped[CreatedExactlyAt]
    tenant_id: Mapped[UuidText]
    app_id: Mapped[UuidText]
    user_id: Mapped[UuidText]
    upload_file_id: Mapped[UuidText]
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes."""
    length: Mapped[int | None]
    value_type: Mapped[str] = mapped_column(String(20))
