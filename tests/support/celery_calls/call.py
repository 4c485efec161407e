"""One call of a Celery task, and the ids in the calls."""

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

TENANT, APP, DATASET, DOCUMENT, SEGMENT, PIPELINE, PIPELINE_DATASET, USER, BINDING, FILE = (
    str(uuid4()) for _ in range(10)
)
RUN, NODE_RUN, JOB, ANNOTATION, CONVERSATION = (str(uuid4()) for _ in range(5))

Fields = dict[str, object]


@dataclass(frozen=True)
class Call:
    """One task, as the platform calls it."""

    name: str
    """Without `tasks.`"""
    parameters: str
    """The task's parameters in their order."""
    values: tuple[object, ...]
    topic: str
    fields: Fields
    """What its event has besides id and time. Fields with their default are left out."""
    transaction: Literal["sender's", "own"] = "own"
    due: float = 0.0
    """Seconds after the call."""
    expires: bool = False
    other_topics: tuple[str, ...] = ()
    """Where its event goes for some rows."""


OF_DATASET: Fields = {"tenant_id": TENANT, "dataset_id": DATASET}
OF_DOCUMENT: Fields = {**OF_DATASET, "document_id": DOCUMENT}
OF_DOCUMENTS: Fields = {**OF_DATASET, "document_ids": [DOCUMENT]}
OF_APP: Fields = {"tenant_id": TENANT, "app_id": APP}
OF_ANNOTATION: Fields = {**OF_APP, "annotation_id": ANNOTATION, "collection_binding_id": BINDING}
