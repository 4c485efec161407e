"""The output of every command: tables for people, JSON and CSV for programs, one line on stderr for an error.

Exit codes: 0 success, 1 failure, 2 wrong request (a name, a field, an argument), 130 interrupted.
"""

import csv
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from schemas.registry import RegistryError
from streams.cli.cells import to_json
from streams.cli.screen import Screen, stdout_screen
from streams.cli.tables import Column, Row, table_lines
from streams.codec import SchemaMissingError
from streams.database.rights import missing_right
from streams.observability.printable import escape_json, escape_line, escape_lines
from streams.settings import SettingsError
from streams.topics import UnknownEventError

JSONOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

FAILED = 1
WRONG_REQUEST = 2
_KAFKA_CLIENT = "cimpl"
"""The module of the errors that librdkafka raises."""
_KNOWN: dict[type[Exception], int] = {
    SettingsError: WRONG_REQUEST,
    UnknownEventError: WRONG_REQUEST,
    RegistryError: FAILED,
    SchemaMissingError: FAILED,
}


class CommandError(Exception):
    """An error that the user sees as one line, with the exit code."""

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
    """The output options of a command that prints rows."""

    format: Format = Format.TABLE
    wide: bool = False
    """Whether a terminal shows every column."""

    @property
    def is_table(self) -> bool:
        """Whether rows are printed as a table."""
        return self.format is Format.TABLE

    @property
    def screen(self) -> Screen:
        """The screen that the output is shown on."""
        return stdout_screen(wide=self.wide)


def print_text(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(escape_line(text) + "\n")


def show_log(log: str) -> None:
    """Print the last lines of a server's log on stderr."""
    sys.stderr.writelines(f"{line}\n" for line in escape_lines(log.rstrip()))


def print_json(value: object) -> None:
    """Print one JSON document on stdout. Control characters are escaped: a pipe may end on a terminal."""
    sys.stdout.write(escape_json(to_json(value)) + "\n")


def print_rows(
    rows: Sequence[Row],
    columns: Sequence[Column],
    output: Output,
    *,
    empty: str = "no rows",
    fields: Sequence[str] = (),
) -> None:
    """Print rows with the same fields as a table, a JSON array, JSON lines, or CSV.

    Args:
        rows: The rows; JSON and CSV have all their fields.
        columns: The columns of a table.
        output: The output options.
        empty: The line printed instead of an empty table.
        fields: The CSV heading without rows. Empty: the names of the columns.
    """
    if output.is_table and rows:
        print_lines(table_lines(columns, rows, output.screen), output.screen)
    elif output.is_table:
        print_text(empty)
    elif output.format is Format.JSON:
        print_json(list(rows))
    elif output.format is Format.JSONL:
        for row in rows:
            print_json(row)
    else:
        print_csv(rows, fields or [column.name for column in columns])


def print_csv(rows: Sequence[Row], fields: Sequence[str], *, heading: bool = True) -> None:
    """Print CSV. The heading has the fields of the rows, or `fields` without rows. Nested values are JSON."""
    names = list(rows[0]) if rows else list(fields)
    writer = csv.writer(_Printable(), lineterminator="\n")
    if heading:
        writer.writerow(names)
    writer.writerows([_csv_value(row[name]) for name in names] for row in rows)


def print_lines(lines: Sequence[Text], screen: Screen) -> None:
    """Print lines without wrapping and without interpreting markup. Colours are printed on a terminal only."""
    if not screen.is_terminal:
        sys.stdout.writelines(f"{line.plain.rstrip()}\n" for line in lines)
        return
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def exit_without_closing() -> NoReturn:
    """End the process with code 0, without closing its clients.

    It is for a process that only reads, again and again. Closing librdkafka's clients takes seconds, and a request to a
    server that hangs does not end.
    """
    sys.stdout.flush()
    logging.shutdown()
    os._exit(0)


def run_reporting_errors(command: Callable[[], object], known: Mapping[type[Exception], int] | None = None) -> None:
    """Run a command. A known error becomes one line on stderr and an exit code; an unknown one keeps its traceback.

    Args:
        command: The command.
        known: Further known errors with their exit codes.
    """
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
    except Exception as error:
        if (lacking := missing_right(error)) is not None:
            _fail(lacking, FAILED)
        # Compared by name: importing a client takes longer than most commands run.
        if type(error).__module__ != _KAFKA_CLIENT:
            raise
        _fail(f"librdkafka rejects the settings STREAMS_KAFKA_…, or the request: {error}", FAILED)


def _fail(message: str, code: int) -> None:
    sys.stderr.write("streams: " + escape_line(" ".join(message.split())) + "\n")
    raise SystemExit(code)


class _Printable:
    """Standard output for a CSV writer. On a terminal, control characters are escaped."""

    def write(self, text: str) -> int:
        """Write one line."""
        if not sys.stdout.isatty():
            return sys.stdout.write(text)
        return sys.stdout.write(escape_line(text.removesuffix("\n")) + "\n")


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
