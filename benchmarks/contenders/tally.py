"""Reports the measurement of a contender: a JSON file, written after the last event."""

import json
import os
import time
from pathlib import Path


class Tally:
    """Counts events from SKIPPED to EVENTS. Events that arrive with the first one do not count.

    So neither the start-up counts, nor what was fetched before the first event was handled.
    """

    def __init__(self) -> None:
        self._wanted = int(os.environ["EVENTS"])
        self._skipped = int(os.environ.get("SKIPPED", "0"))
        self._result_file = Path(os.environ["RESULT_FILE"])
        self._began: tuple[int, float, float] | None = None
        """Events, clock and processor time at the start of the measurement."""
        self._ages: list[float] = []
        self.seen = 0

    def add(self, events: int, occurred_at: float | None = None) -> None:
        """Count handled events. `occurred_at` is the time of the last one in seconds since the epoch."""
        if occurred_at is not None and self._began is not None:
            self._ages.append(time.time() - occurred_at)
        self.seen += events
        if self._began is None:
            if self.seen > self._skipped:
                self._began = self.seen, time.perf_counter(), time.process_time()
            return
        seen, clock, cpu = self._began
        if self.seen >= self._wanted:
            self._write_result(self.seen - seen, time.perf_counter() - clock, time.process_time() - cpu)

    def _write_result(self, events: int, took: float, cpu: float) -> None:
        ages = sorted(self._ages)
        found = {
            "events": events,
            "seconds": took,
            "cpu_seconds": cpu,
            "p50": ages[len(ages) // 2] if ages else None,
            "p99": ages[len(ages) * 99 // 100] if ages else None,
        }
        fresh = self._result_file.with_suffix(".new")
        fresh.write_text(json.dumps(found))
        fresh.replace(self._result_file)
