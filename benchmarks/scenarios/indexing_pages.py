"""1,000 documents of 20 pages: the wall time of the pipeline, compared with the baseline."""

import time

from benchmarks.baseline import Baseline
from benchmarks.documents import create_documents
from benchmarks.environment import Servers, say
from benchmarks.generated_documents import pdf
from benchmarks.result import Result, Results
from streams.local.demo.documents import SourceFile

DOCUMENTS = 1000
PAGES = 20
_BLOCKS = 4
"""Both run alternately, so that other load of the machine affects both."""
_WARM = 4
_TIMEOUT = 3600.0


def run(servers: Servers, scale: float) -> Results:
    """The ratio of both wall times: at most 1.3."""
    block = max(round(DOCUMENTS * scale / _BLOCKS), 2)
    with servers.sandbox("pages") as sandbox:
        say(f"writing {2 * (block * _BLOCKS + _WARM)} PDF files of {PAGES} pages")
        ours, theirs = (
            create_documents(
                sandbox, (SourceFile(f"{n}.pdf", pdf(PAGES, f"{side}{n}")) for n in range(block * _BLOCKS + _WARM))
            )
            for side in ("piped", "alone")
        )
        alone = Baseline(theirs)
        piped = by_itself = 0.0
        with sandbox.worker():
            ours.request(ours.uploads[:_WARM])
            alone.run(theirs.uploads[:_WARM])
            ours.wait(_WARM, _TIMEOUT)
            for first in range(_WARM, block * _BLOCKS + _WARM, block):
                started = time.perf_counter()
                ours.request(ours.uploads[first : first + block])
                ours.wait(first + block, _TIMEOUT)
                middle = time.perf_counter()
                alone.run(theirs.uploads[first : first + block])
                piped += middle - started
                by_itself += time.perf_counter() - middle
                say(f"{first + block - _WARM} documents: piped {piped:.1f} s, alone {by_itself:.1f} s")
        alone.close()
        ours.check()
        yield Result(
            "indexing-pages",
            piped / by_itself,
            "times the work alone",
            "at most",
            1.3,
            {
                "documents": block * _BLOCKS,
                "pages": PAGES,
                "piped_seconds": round(piped, 2),
                "alone_seconds": round(by_itself, 2),
                "segments": ours.segments(),
            },
        )
