"""Live Python values in the platform's calls, in the shape of Dify 1.9.2, whose classes are not available here."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel

from tests.support.celery_calls.call import NODE_RUN, RUN, Fields


class Role(StrEnum):
    """The role of a creator."""

    ACCOUNT = "account"


class Status(StrEnum):
    """The status of a run."""

    SUCCEEDED = "succeeded"


class NodeType(StrEnum):
    """The type of a node."""

    LLM = "llm"


class MetadataKey(StrEnum):
    """A key of a node's metadata."""

    TOTAL_TOKENS = "total_tokens"
    TOTAL_PRICE = "total_price"


class File(BaseModel):
    """A file of a workflow."""

    id: str
    secret: str = "not stored"

    def to_dict(self) -> dict[str, object]:
        return {"id": self.id, "dify_model_identity": "file"}


class Segment(BaseModel):
    """A variable of a workflow."""

    value_type: str
    value: object


class Usage(BaseModel):
    """A model without a value."""

    price: Decimal


@dataclass(frozen=True)
class Deletion:
    """A deleted draft variable and its file, as Dify 1.9.2 has it."""

    draft_var_id: str
    draft_var_file_id: str


class DeletionTuple(NamedTuple):
    """The same as a tuple."""

    draft_var_id: str
    draft_var_file_id: str


STARTED = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - the platform's times are UTC without an offset
RUN_DATA: Fields = {
    "id_": RUN,
    "workflow_id": "w",
    "workflow_version": "draft",
    "workflow_type": NodeType.LLM,
    "graph": {"nodes": [{"id": "n"}]},
    "inputs": {"file": File(id="f"), "n": Segment(value_type="number", value=Decimal("1.5"))},
    "outputs": None,
    "status": Status.SUCCEEDED,
    "error_message": "",
    "total_tokens": 3,
    "total_steps": 2,
    "exceptions_count": 1,
    "started_at": STARTED,
    "finished_at": None,
}
NODE_DATA: Fields = {
    "id": NODE_RUN,
    "node_execution_id": "e",
    "workflow_id": "w",
    "workflow_execution_id": RUN,
    "index": 4,
    "predecessor_node_id": None,
    "node_id": "n",
    "node_type": NodeType.LLM,
    "title": "t",
    "inputs": {"when": STARTED, "files": [File(id="f")]},
    "process_data": {},
    "outputs": {"usage": Usage(price=Decimal("0.25")), "ids": ("a", {"b"})},
    "status": Status.SUCCEEDED,
    "error": None,
    "elapsed_time": 1.5,
    "metadata": {MetadataKey.TOTAL_TOKENS: 3, MetadataKey.TOTAL_PRICE: Decimal("0.001")},
    "created_at": STARTED,
    "finished_at": STARTED,
}
