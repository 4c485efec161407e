"""How every command speaks: tables for people, JSON for programs, one line on stderr when it fails.

Exit codes: 0 done, 1 failed, 2 what was asked for is wrong (a name, a field, an argument).
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from schemas.registry import RegistryError
from streams.codec import SchemaMissingError
from streams.settings import SettingsError
from streams.topics import UnknownEventError

JSONOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

FAILED = 1
WRONG_REQUEST = 2
_KNOWN: dict[type[Exception], int] = {
    SettingsError: WRONG_REQUEST,
    UnknownEventError: WRONG_REQUEST,
    RegistryError: FAILED,
    SchemaMissingError: FAILED,
}


class CommandError(Exception):
    """What the user is told in one line, and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def to_json(value: object) -> str:
    """Compact JSON; times in ISO 8601 with their offset, anything else that JSON lacks as text."""
    return json.dumps(value, default=_plain, ensure_ascii=False)


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(to_json(value) + "\n")


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, empty: str = "nothing there") -> None:
    """A list of rows with the same fields: a JSON array, or a table."""
    if as_json:
        print_json(list(rows))
        return
    console = Console()
    if not rows:
        console.print(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    if console.is_terminal and Measurement.get(console, console.options, table).maximum > console.width:
        _print_one_by_one(console, rows)
    else:
        console.print(table)


def _print_one_by_one(console: Console, rows: Sequence[Mapping[str, object]]) -> None:
    """Field by field, for a terminal that is too narrow for the table."""
    for row in rows:
        fields = Table.grid(padding=(0, 2))
        for name, value in row.items():
            fields.add_row(f"[bold]{name}[/bold]", _cell(value))
        console.print(fields, "")


def run_reporting_errors(command: Callable[[], object], known: Mapping[type[Exception], int] | None = None) -> None:
    """Run; a known error becomes its line on stderr and exit code. Unknown ones keep their trace: they are bugs."""
    codes: dict[type[Exception], int] = {**_KNOWN, **(known or {})}
    try:
        command()
    except CommandError as error:
        _fail(str(error), error.code)
    except tuple(codes) as error:
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
        _fail(str(error), code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(message: str, code: int) -> None:
    sys.stderr.write("streams: " + " ".join(message.split()) + "\n")
    raise SystemExit(code)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return to_json(value) if isinstance(value, list | dict) else str(value)
