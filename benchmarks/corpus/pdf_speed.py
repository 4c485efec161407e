"""`python -m benchmarks.corpus.pdf_speed FOLDER`: the time for the PDFs of a folder, beside PDFium's own extraction.

Both read the same bytes in one process, by turns. The result is one JSON line. Exits with 1 if the target is missed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from statistics import median

import pypdfium2

from benchmarks.result import Result
from streams.dify.errors import RefusedError
from streams.dify.extraction import extract

_TURNS = 5
_TARGET = 1.5
_NO_DOCUMENT = "00000000-0000-0000-0000-000000000000"


def compare(contents: Sequence[bytes]) -> Result:
    """Return the median of the ratios of the turns."""
    turns = [(_seconds(_extracted, contents), _seconds(_pdfium_alone, contents)) for _ in range(_TURNS + 1)]
    kept = turns[1:]  # the first one loads the libraries
    detail = {
        "files": len(contents),
        "seconds": round(median(ours for ours, _ in kept), 3),
        "pdfium_seconds": round(median(theirs for _, theirs in kept), 3),
    }
    ratio = median(ours / theirs for ours, theirs in kept)
    return Result("reading PDFs, compared with PDFium alone", ratio, "times", "at most", _TARGET, detail)


def _seconds(read: Callable[[bytes], object], contents: Sequence[bytes]) -> float:
    began = time.process_time()
    for content in contents:
        read(content)
    return time.process_time() - began


def _extracted(content: bytes) -> None:
    with suppress(RefusedError):
        extract(content, "pdf", _NO_DOCUMENT)


def _pdfium_alone(content: bytes) -> None:
    with suppress(pypdfium2.PdfiumError), closing(pypdfium2.PdfDocument(content)) as document:
        for index in range(len(document)):
            with closing(document[index]) as page, closing(page.get_textpage()) as text:
                text.get_text_range()


def main() -> int:
    """Measure the PDFs of a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus.pdf_speed", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    result = compare([path.read_bytes() for path in sorted(parser.parse_args().folder.rglob("*.pdf"))])
    sys.stdout.write(result.line() + "\n")
    return int(result.met is False)


if __name__ == "__main__":
    sys.exit(main())
