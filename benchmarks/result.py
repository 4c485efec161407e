"""The result of a benchmark: one JSON line per result."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Comparison = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value, and its target."""

    name: str
    value: float
    unit: str
    wanted: Comparison | None = None
    target: float | None = None
    """None: the value is shown only."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """The figures behind the value."""

    @property
    def met(self) -> bool | None:
        """Return whether the target is met; None if there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.wanted == "at most" else self.value >= self.target

    def line(self) -> str:
        """Return JSON in one line."""
        found = {
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "target": None if self.target is None else f"{self.wanted} {self.target:g}",
            "met": self.met,
            "detail": dict(self.detail),
        }
        return json.dumps(found)


Results = Iterator[Result]
