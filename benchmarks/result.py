"""What a benchmark says: one JSON line a result."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

Wanted = Literal["at most", "at least"]


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value, and whether it is what was promised."""

    name: str
    value: float
    unit: str
    wanted: Wanted | None = None
    target: float | None = None
    """None: the value is shown, nothing is promised."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """The figures that the value was made of."""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.wanted == "at most" else self.value >= self.target

    def line(self) -> str:
        """JSON in one line."""
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
