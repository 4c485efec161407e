"""A trace in the form that every provider gets: spans with times, inputs, outputs, and the use of models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

JSONValue = object
"""A value that `json.dumps` takes."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What a generation has used."""

    model: str | None
    input: int
    output: int
    total: int
    unit: str = "TOKENS"
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a trace."""

    id: str
    """The same for each attempt, so that a repetition overwrites itself."""
    name: str
    start: datetime
    end: datetime
    input: JSONValue = None
    output: JSONValue = None
    metadata: Mapping[str, JSONValue] = field(default_factory=dict)
    error: str | None = None
    parent_id: str | None = None
    """None: a child of the trace itself."""
    use: ModelUse | None = None
    """Of a generation."""


@dataclass(frozen=True, slots=True)
class Root:
    """The description of a trace as a whole. Spans of a message come apart from it and have none."""

    name: str
    start: datetime
    end: datetime
    input: JSONValue = None
    output: JSONValue = None
    metadata: Mapping[str, JSONValue] = field(default_factory=dict)
    error: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """What one event sends."""

    id: str
    root: Root | None
    spans: tuple[Span, ...]
