"""Reads one file as a worker does, and measures it. It runs in the compute processes."""

import re
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from streams.dify.errors import RefusedError
from streams.dify.extraction import extract
from streams.dify.extraction.completeness.check import found_share

_NO_DOCUMENT = "00000000-0000-0000-0000-000000000000"


class FileReading(NamedTuple):
    """What became of one file. Without text of the file, so that it can be shown to anybody."""

    characters: int = 0
    parts: int = 0
    images: int = 0
    warnings: tuple[str, ...] = ()
    whole: float | None = None
    """The share of the file's words that are in its text; None: it is not counted."""
    refused: str | None = None
    crashed: str | None = None
    seconds: float = 0.0
    """Processor time."""
    memory: float = 0.0
    """The largest memory of the process meanwhile, in MiB."""


def read_file(path: str, extension: str) -> FileReading:
    """Read a file. What the worker would refuse is a result too."""
    content = Path(path).read_bytes()
    _forget_peak()
    began = time.process_time()
    try:
        found = extract(content, extension, _NO_DOCUMENT)
    except RefusedError as error:
        return FileReading(refused=str(error), seconds=time.process_time() - began, memory=_peak())
    seconds, memory = time.process_time() - began, _peak()
    share = found_share(content, extension, found.parts)
    return FileReading(
        characters=sum(len(part.text) for part in found.parts),
        parts=len(found.parts),
        images=len(found.images),
        warnings=found.warnings,
        whole=None if share is None else share.found / share.held,
        seconds=seconds,
        memory=memory,
    )


def _forget_peak() -> None:
    """Let the kernel measure the peak of the memory from now on. Where it is not allowed, the peak is an older one."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> float:
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, flags=re.MULTILINE):
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
