"""10,000 small documents: none is lost, and the last ones take no longer than the first ones."""

import time

from benchmarks.documents import DocumentSet, create_documents
from benchmarks.environment import Servers, say
from benchmarks.generated_documents import text
from benchmarks.result import Result, Results
from streams.local.demo.documents import SourceFile

DOCUMENTS = 10_000
_CHARACTERS = 900
_TIMEOUT = 3600.0
_PARTS = 10


def run(servers: Servers, scale: float) -> Results:
    """Documents per second, and the time of the last tenth compared with the first tenth."""
    count = max(round(DOCUMENTS * scale), 20)
    with servers.sandbox("small") as sandbox:
        say(f"writing {count} small documents")
        document_set = create_documents(
            sandbox, (SourceFile(f"{n}.txt", text(_CHARACTERS, str(n)).encode()) for n in range(count))
        )
        with sandbox.worker() as memory:
            started = time.perf_counter()
            document_set.request(document_set.uploads)
            times = _times(document_set, count, started)
        took = times[-1]
        first, last = times[0], times[-1] - times[-2]
        executed = sandbox.scalar("select count(*) from streams.executions where status = 'success'")
        yield Result(
            "indexing-small",
            count / took,
            "documents/s",
            detail={"documents": count, "seconds": round(took, 2), "worker_peak_mib": round(memory.peak)},
        )
        yield Result("indexing-small-all-done", executed / count, "of all requests", "at least", 1.0)
        yield Result("indexing-small-flat", last / first, "times the first tenth's time", "at most", 1.5)


def _times(document_set: DocumentSet, count: int, started: float) -> list[float]:
    """Return the seconds from the start until each tenth was completed."""
    times = []
    for part in range(1, _PARTS + 1):
        document_set.wait(count * part // _PARTS, _TIMEOUT)
        times.append(time.perf_counter() - started)
        say(f"{count * part // _PARTS} documents after {times[-1]:.1f} s")
    return times
