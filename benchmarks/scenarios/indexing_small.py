"""10,000 small documents: none is lost, and the last ones take no longer than the first."""

import time

from benchmarks.corpus import text
from benchmarks.documents import Shelf, fill_shelf
from benchmarks.environment import Ground, say
from benchmarks.result import Result, Results
from streams.local.demo.documents import SourceFile

DOCUMENTS = 10_000
_CHARACTERS = 900
_PATIENCE = 3600.0
_PARTS = 10


def run(ground: Ground, scale: float) -> Results:
    """Documents a second; the rate of the last tenth as a part of the first's."""
    count = max(round(DOCUMENTS * scale), 20)
    with ground.plot("small") as plot:
        say(f"writing {count} small documents")
        shelf = fill_shelf(plot, (SourceFile(f"{n}.txt", text(_CHARACTERS, str(n)).encode()) for n in range(count)))
        with plot.worker() as memory:
            began = time.perf_counter()
            shelf.request(shelf.uploads)
            times = _times(shelf, count, began)
        took = times[-1]
        first, last = times[0], times[-1] - times[-2]
        executed = plot.scalar("select count(*) from streams.executions where status = 'success'")
        yield Result(
            "indexing-small",
            count / took,
            "documents/s",
            detail={"documents": count, "seconds": round(took, 2), "worker_peak_mib": round(memory.peak)},
        )
        yield Result("indexing-small-all-done", executed / count, "of all requests", "at least", 1.0)
        yield Result("indexing-small-flat", last / first, "times the first tenth's time", "at most", 1.5)


def _times(shelf: Shelf, count: int, began: float) -> list[float]:
    """Seconds from the beginning until each tenth was completed."""
    times = []
    for part in range(1, _PARTS + 1):
        shelf.wait(count * part // _PARTS, _PATIENCE)
        times.append(time.perf_counter() - began)
        say(f"{count * part // _PARTS} documents after {times[-1]:.1f} s")
    return times
