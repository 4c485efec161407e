"""How a contender says what it did: a JSON file, written when the last event is handled."""

import json
import os
import time
from pathlib import Path


class Tally:
    """Counts events until EVENTS are handled, from SKIPPED on and not those that came with the first.

    So neither start-up counts, nor what was fetched before anything was handled.
    """

    def __init__(self) -> None:
        self._wanted = int(os.environ["EVENTS"])
        self._skipped = int(os.environ.get("SKIPPED", "0"))
        self._told = Path(os.environ["TOLD"])
        self._began: tuple[int, float, float] | None = None
        """Events seen, clock and processor time when counting began."""
        self._ages: list[float] = []
        self.seen = 0

    def add(self, events: int, occurred_at: float | None = None) -> None:
        """So many events are handled; the last of them occurred then (seconds since the epoch)."""
        if occurred_at is not None and self._began is not None:
            self._ages.append(time.time() - occurred_at)
        self.seen += events
        if self._began is None:
            if self.seen > self._skipped:
                self._began = self.seen, time.perf_counter(), time.process_time()
            return
        seen, clock, cpu = self._began
        if self.seen >= self._wanted:
            self._tell(self.seen - seen, time.perf_counter() - clock, time.process_time() - cpu)

    def _tell(self, events: int, took: float, cpu: float) -> None:
        ages = sorted(self._ages)
        found = {
            "events": events,
            "seconds": took,
            "cpu_seconds": cpu,
            "p50": ages[len(ages) // 2] if ages else None,
            "p99": ages[len(ages) * 99 // 100] if ages else None,
        }
        fresh = self._told.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        fresh.replace(self._told)
