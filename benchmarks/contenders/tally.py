"""How a contender says what it did: a JSON file, written when the last event is handled."""

import json
import os
import time
from pathlib import Path


class Tally:
    """Counts events; the clock runs from the first to the last of EVENTS, so that no start-up counts."""

    def __init__(self) -> None:
        self._wanted = int(os.environ["EVENTS"])
        self._told = Path(os.environ["TOLD"])
        self._began = 0.0
        self._cpu = 0.0
        self._ages: list[float] = []
        self.seen = 0

    def add(self, events: int, occurred_at: float | None = None) -> None:
        """So many events are handled; the last of them occurred then (seconds since the epoch)."""
        if occurred_at is not None:
            self._ages.append(time.time() - occurred_at)
        if not self.seen:
            self._began, self._cpu = time.perf_counter(), time.process_time()
        self.seen += events
        if self.seen >= self._wanted:
            self._tell(time.perf_counter() - self._began, time.process_time() - self._cpu)

    def _tell(self, took: float, cpu: float) -> None:
        ages = sorted(self._ages)
        found = {
            "events": self.seen,
            "seconds": took,
            "cpu_seconds": cpu,
            "p50": ages[len(ages) // 2] if ages else None,
            "p99": ages[len(ages) * 99 // 100] if ages else None,
        }
        fresh = self._told.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        fresh.replace(self._told)
