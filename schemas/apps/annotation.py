"""Events of annotations: answers that a person has written for questions to an app."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from schemas.event import Event
from schemas.sensitivity import Personal


class AnnotationAdded(Event):
    """An annotation was added. Its question must be found in the app's annotation index."""

    annotation_id: str
    app_id: str
    question: Annotated[str, Personal]
    collection_binding_id: str


class AnnotationUpdated(Event):
    """An annotation was changed. The index must have its present question."""

    annotation_id: str
    app_id: str
    question: Annotated[str, Personal]
    collection_binding_id: str


class AnnotationDeleted(Event):
    """An annotation is being deleted. The index must not have it any more."""

    annotation_id: str
    app_id: str
    collection_binding_id: str


class AnnotationReplyEnabled(Event):
    """An app shall answer from its annotations. All of them are indexed with this model."""

    job_id: str
    app_id: str
    account_id: str
    score_threshold: float
    embedding_provider_name: str
    embedding_model_name: str
    cursor: str | None = None
    """The last annotation that is indexed. Null in the sender's event; each step publishes the next one with it."""


class AnnotationReplyDisabled(Event):
    """An app shall no longer answer from its annotations. Their index is deleted."""

    job_id: str
    app_id: str


class AnnotationRow(BaseModel):
    """A row of an import."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    question: Annotated[str, Personal]
    answer: Annotated[str, Personal]


class AnnotationsImportRequested(Event):
    """Add these annotations to an app."""

    job_id: str
    app_id: str
    account_id: str
    rows: list[AnnotationRow]
