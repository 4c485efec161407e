"""1,000 documents of 20 pages: the pipeline's wall time beside that of the work alone."""

import time

from benchmarks.baseline import Alone
from benchmarks.corpus import pdf
from benchmarks.documents import fill_shelf
from benchmarks.environment import Ground, say
from benchmarks.result import Result, Results
from streams.local.demo.documents import SourceFile

DOCUMENTS = 1000
PAGES = 20
_BLOCKS = 4
"""The two take turns, so that what else the machine does is shared by both."""
_WARM = 4
_PATIENCE = 3600.0


def run(ground: Ground, scale: float) -> Results:
    """Ratio of the two wall times: at most 1.3."""
    block = max(round(DOCUMENTS * scale / _BLOCKS), 2)
    with ground.plot("pages") as plot:
        say(f"writing {2 * (block * _BLOCKS + _WARM)} PDF files of {PAGES} pages")
        ours, theirs = (
            fill_shelf(plot, (SourceFile(f"{n}.pdf", pdf(PAGES, f"{side}{n}")) for n in range(block * _BLOCKS + _WARM)))
            for side in ("piped", "alone")
        )
        alone = Alone(theirs)
        piped = by_itself = 0.0
        with plot.worker():
            ours.request(ours.uploads[:_WARM])
            alone.run(theirs.uploads[:_WARM])
            ours.wait(_WARM, _PATIENCE)
            for first in range(_WARM, block * _BLOCKS + _WARM, block):
                began = time.perf_counter()
                ours.request(ours.uploads[first : first + block])
                ours.wait(first + block, _PATIENCE)
                middle = time.perf_counter()
                alone.run(theirs.uploads[first : first + block])
                piped += middle - began
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
