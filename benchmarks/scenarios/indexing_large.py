"""One document of 50 MB of text: memory stays bounded."""

import time

from benchmarks.documents import create_documents
from benchmarks.environment import Servers, say
from benchmarks.generated_documents import text
from benchmarks.result import Result, Results
from streams.local.demo.documents import SourceFile

BYTES = 50_000_000
_TIMEOUT = 3600.0
_LIMIT = 500.0


def run(servers: Servers, scale: float) -> Results:
    """The peak resident memory of the worker and of its largest process: under 500 MB each."""
    size = round(BYTES * scale)
    with servers.sandbox("large") as sandbox:
        say(f"writing a document of {size / 1e6:g} MB")
        document_set = create_documents(sandbox, [SourceFile("large.txt", text(size, "large").encode())])
        with sandbox.worker() as memory:
            started = time.perf_counter()
            document_set.request(document_set.uploads)
            document_set.wait(1, _TIMEOUT)
            took = time.perf_counter() - started
        document_set.check()
        detail = {"megabytes": size / 1e6, "segments": document_set.segments(), "seconds": round(took, 1)}
        yield Result("indexing-large-worker", memory.peak, "MiB at most", "at most", _LIMIT, detail)
        yield Result("indexing-large-process", memory.child_peak, "MiB at most", "at most", _LIMIT, detail)
