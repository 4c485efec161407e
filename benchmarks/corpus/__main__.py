"""`python -m benchmarks.corpus FOLDER`: what becomes of the files of a folder.

Each file is read as a worker reads it, in the same confined processes with the same limits. Nothing is stored, and no
server is needed. Exits with 1 if a process crashed.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.corpus.file_reading import FileReading, read_file
from streams.delivery import ProcessorTimeExceededError
from streams.delivery.errors import ComputeCrashedError, OutOfMemoryError
from streams.delivery.process_pool import ComputePool
from streams.dify.extraction import EXTENSIONS
from streams.dify.indexing.prepare import reading_seconds
from streams.observability.printable import escape_line
from streams.settings import Settings

_SLOW = 1.0
"""Seconds of processor time from which on a file is slow."""
_LONGEST_WAIT = 3600.0
HEADS = ("file", "characters", "parts", "seconds", "MiB", "whole", "outcome")


@dataclass(frozen=True, slots=True)
class Row:
    """A file and what became of it."""

    file: str
    format: str
    reading: FileReading

    @property
    def outcome(self) -> str:
        """One line: text, or why not."""
        reading = self.reading
        if reading.crashed:
            return f"crashed: {reading.crashed}"
        if reading.refused:
            return f"refused: {reading.refused}"
        return "; ".join(("text", *reading.warnings))


@dataclass(frozen=True, slots=True)
class Summary:
    """The files of one format."""

    files: int
    text: int
    warned: int
    refused: int
    crashed: int
    slow: int
    """Files that needed a second or more."""
    seconds: float
    memory: float
    """The largest of a process, in MiB."""


def files_of(folder: Path) -> list[tuple[Path, str]]:
    """Return the files of a folder and its folders that a worker can read, and the format of each."""
    named = ((path, path.suffix.lower().removeprefix(".")) for path in sorted(folder.rglob("*")))
    return [(path, extension) for path, extension in named if extension in EXTENSIONS and path.is_file()]


async def read_files(folder: Path, processes: int, memory: int) -> list[Row]:
    """Read the files of a folder in compute processes.

    Args:
        folder: the folder.
        processes: how many files are read at the same time.
        memory: the limit of each process in MiB.
    """
    pool = ComputePool(processes, preload=["streams.dify.indexing.preload"], memory=memory)
    try:
        readings = [
            _read(pool, folder, path, extension) for path, extension in await asyncio.to_thread(files_of, folder)
        ]
        return list(await asyncio.gather(*readings))
    finally:
        await pool.close()


async def _read(pool: ComputePool, folder: Path, path: Path, extension: str) -> Row:
    limit = reading_seconds((await asyncio.to_thread(path.stat)).st_size)
    try:
        reading = await pool.run(read_file, (str(path), extension), {}, _LONGEST_WAIT, processor_seconds=limit)
    except ProcessorTimeExceededError:
        reading = FileReading(refused=f"more than {limit:.0f} s of processor time", seconds=limit)
    except (ComputeCrashedError, OutOfMemoryError, OSError, TimeoutError) as error:
        reading = FileReading(crashed=str(error) or type(error).__name__)
    return Row(escape_line(str(path.relative_to(folder))), extension, reading)


def summaries(rows: Sequence[Row]) -> dict[str, Summary]:
    """Return a summary of each format, and of all files as `all`."""
    formats = sorted({row.format for row in rows})
    groups = {name: [row.reading for row in rows if row.format == name] for name in formats}
    groups["all"] = [row.reading for row in rows]
    return {name: _summary(readings) for name, readings in groups.items()}


def _summary(readings: Sequence[FileReading]) -> Summary:
    return Summary(
        files=len(readings),
        text=sum(not one.refused and not one.crashed for one in readings),
        warned=sum(bool(one.warnings) for one in readings),
        refused=sum(bool(one.refused) for one in readings),
        crashed=sum(bool(one.crashed) for one in readings),
        slow=sum(one.seconds >= _SLOW for one in readings),
        seconds=round(sum(one.seconds for one in readings), 2),
        memory=round(max((one.memory for one in readings), default=0.0)),
    )


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of both tables."""
    yield from _table(HEADS, [_cells(row) for row in rows])
    yield ""
    heads = ("format", *Summary.__dataclass_fields__)
    yield from _table(heads, [(name, *map(str, asdict(one).values())) for name, one in summaries(rows).items()])


def _cells(row: Row) -> tuple[str, ...]:
    reading = row.reading
    whole = "-" if reading.whole is None else f"{reading.whole:.1%}"
    measured = (f"{reading.characters:,}", str(reading.parts), f"{reading.seconds:.2f}", f"{reading.memory:.0f}")
    return (row.file, *measured, whole, escape_line(row.outcome))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield aligned lines: the first column to the left, numbers to the right, the last column of texts as it is."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for cells in (heads, *rows):
        aligned = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1], strict=True)),
        ]
        yield "  ".join((*aligned, cells[-1])).rstrip()


def as_json(rows: Sequence[Row]) -> Mapping[str, object]:
    """Return the same figures for programs."""
    return {
        "files": [{"file": row.file, "format": row.format, **row.reading._asdict()} for row in rows],
        "formats": {name: asdict(one) for name, one in summaries(rows).items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a folder and print what became of its files."""
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description=__doc__)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help=f"files of these types are read: {', '.join(EXTENSIONS)}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many files at the same time")
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        parser.error(f"{given.folder} is no folder")
    rows = asyncio.run(read_files(given.folder, max(1, given.processes), settings.compute_memory))
    lines = [json.dumps(as_json(rows), ensure_ascii=False)] if given.json else tables(rows)
    for line in lines:
        sys.stdout.write(line + "\n")
    return int(any(row.reading.crashed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
