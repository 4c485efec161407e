"""How every command speaks: tables for people, JSON and CSV for programs, one line on stderr when it fails.

Exit codes: 0 done, 1 failed, 2 what was asked for is wrong (a name, a field, an argument).
"""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from schemas.registry import RegistryError
from streams.cli.cells import to_json
from streams.cli.printable import for_json, lines_of, one_line
from streams.cli.screen import Screen, standard_output
from streams.cli.tables import Column, Row, table_lines
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


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


@dataclass(frozen=True, slots=True)
class Output:
    """How a command that prints rows was asked to print them."""

    format: Format = Format.TABLE
    wide: bool = False
    """Every column, on a terminal too."""

    @property
    def is_table(self) -> bool:
        """Whether a person reads it."""
        return self.format is Format.TABLE

    @property
    def screen(self) -> Screen:
        """Where it is shown."""
        return standard_output(wide=self.wide)


def say(text: str) -> None:
    """One line on stdout for a person."""
    sys.stdout.write(one_line(text) + "\n")


def show_log(log: str) -> None:
    """The last lines of a server's log on stderr, for a person."""
    sys.stderr.writelines(f"{line}\n" for line in lines_of(log.rstrip()))


def print_json(value: object) -> None:
    """One JSON document on stdout."""
    text = to_json(value)
    sys.stdout.write((for_json(text) if sys.stdout.isatty() else text) + "\n")


def print_rows(
    rows: Sequence[Row],
    columns: Sequence[Column],
    output: Output,
    *,
    empty: str = "nothing there",
    fields: Sequence[str] = (),
) -> None:
    """A list of rows with the same fields: a table, a JSON array, JSON lines, or CSV.

    Args:
        rows: What is printed; programs get all fields.
        columns: What a table shows of a row.
        output: What was asked for.
        empty: Said instead of a table without rows.
        fields: The heading of CSV without rows; unset: the columns' names.
    """
    if output.is_table and rows:
        print_lines(table_lines(columns, rows, output.screen), output.screen)
    elif output.is_table:
        say(empty)
    elif output.format is Format.JSON:
        print_json(list(rows))
    elif output.format is Format.JSONL:
        for row in rows:
            print_json(row)
    else:
        print_csv(rows, fields or [column.name for column in columns])


def print_csv(rows: Sequence[Row], fields: Sequence[str], *, heading: bool = True) -> None:
    """CSV with a heading: the rows' fields, or `fields` where there are no rows. Nested values are JSON."""
    names = list(rows[0]) if rows else list(fields)
    writer = csv.writer(_Printable(), lineterminator="\n")
    if heading:
        writer.writerow(names)
    writer.writerows([_csv_value(row[name]) for name in names] for row in rows)


def print_lines(lines: Sequence[Text], screen: Screen) -> None:
    """Lines as they are: nothing is wrapped, markup in them is text. Colours on a terminal only."""
    if not screen.terminal:
        sys.stdout.writelines(f"{line.plain.rstrip()}\n" for line in lines)
        return
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


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
    sys.stderr.write("streams: " + one_line(" ".join(message.split())) + "\n")
    raise SystemExit(code)


class _Printable:
    """Standard output for a CSV writer: on a terminal, control characters are spelled out."""

    def write(self, text: str) -> int:
        """Write one line."""
        if not sys.stdout.isatty():
            return sys.stdout.write(text)
        return sys.stdout.write(one_line(text.removesuffix("\n")) + "\n")


def _csv_value(value: object) -> object:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case list() | tuple() | dict():
            return to_json(value)
        case _:
            return value
