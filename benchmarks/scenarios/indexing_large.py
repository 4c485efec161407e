"""One document of 50 MB of text: in flat memory."""

import time

from benchmarks.corpus import text
from benchmarks.documents import fill_shelf
from benchmarks.environment import Ground, say
from benchmarks.result import Result, Results
from streams.local.demo.documents import SourceFile

BYTES = 50_000_000
_PATIENCE = 3600.0
_LIMIT = 500.0


def run(ground: Ground, scale: float) -> Results:
    """The peak of the worker's resident memory, and of the largest of its processes: under 500 MB each."""
    size = round(BYTES * scale)
    with ground.plot("large") as plot:
        say(f"writing a document of {size / 1e6:g} MB")
        shelf = fill_shelf(plot, [SourceFile("large.txt", text(size, "large").encode())])
        with plot.worker() as memory:
            began = time.perf_counter()
            shelf.request(shelf.uploads)
            shelf.wait(1, _PATIENCE)
            took = time.perf_counter() - began
        shelf.check()
        detail = {"megabytes": size / 1e6, "segments": shelf.segments(), "seconds": round(took, 1)}
        yield Result("indexing-large-worker", memory.peak, "MiB at most", "at most", _LIMIT, detail)
        yield Result("indexing-large-process", memory.peak_of_a_child, "MiB at most", "at most", _LIMIT, detail)
