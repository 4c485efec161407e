"""`streams local`: runs Kafka, PostgreSQL and Redis on this machine, in one folder."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from streams.cli.help import Command, Group, examples
from streams.cli.options import prints_rows
from streams.cli.output import CommandError, JSONOption, Output, print_json, print_rows, show_log
from streams.cli.tables import Column
from streams.local import LocalStack, ServerFailedError, StackError
from streams.settings import load_settings

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="Run Kafka, PostgreSQL and Redis on this machine, in one folder.",
    epilog=examples("streams local up"),
)

COLUMNS = (
    Column("name", 1),
    Column("pid", 4),
    Column("running", 2, styles={"yes": "green", "no": "red"}),
    Column("address", 3),
    Column("folder", 5),
)

BrokersOption = Annotated[
    int | None,
    typer.Option(
        "--brokers", min=1, max=9, help="The number of Kafka brokers of a new stack; 3 or more keep 3 replicas."
    ),
]


@app.command("up", cls=Command, epilog=examples("streams local up", "streams local up --brokers 3"))
@prints_rows
def up(output: Output, brokers: BrokersOption = None) -> None:
    """Start the servers that do not run, and wait until all of them answer."""
    stack = LocalStack(load_settings().local_dir, brokers)
    with _errors_as_command_errors(), _progress() as report:
        stack.up(report)
    _print_status(stack, output)


@app.command("down", cls=Command, epilog=examples("streams local down"))
@prints_rows
def down(output: Output) -> None:
    """Stop the servers. The data stays."""
    stack = LocalStack(load_settings().local_dir)
    with _errors_as_command_errors(), _progress() as report:
        stack.down(report)
    _print_status(stack, output)


@app.command("status", cls=Command, epilog=examples("streams local status"))
@prints_rows
def status(output: Output) -> None:
    """Show which servers run, their addresses and their data folders."""
    with _errors_as_command_errors():
        _print_status(LocalStack(load_settings().local_dir), output)


@app.command("env", cls=Command, epilog=examples("streams local env", "streams local env --json"))
def env(as_json: JSONOption = False) -> None:
    """Print the settings that connect a program to this stack: eval "$(streams local env)"."""
    with _errors_as_command_errors():
        environment = LocalStack(load_settings().local_dir).environment()
    if as_json:
        print_json(environment)
        return
    for name, value in environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _print_status(stack: LocalStack, output: Output) -> None:
    rows = [
        {
            "name": server.name,
            "pid": server.pid,
            "running": server.running,
            "address": server.address,
            "folder": str(server.folder),
        }
        for server in stack.status()
    ]
    print_rows(rows, COLUMNS, output, empty=f"no local stack in {stack.folder}")


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show progress on stderr: one changing line on a terminal, one line per step elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("local stack") as line:
            yield line.update
    else:
        yield lambda text: typer.echo(text, err=True)


@contextmanager
def _errors_as_command_errors() -> Iterator[None]:
    try:
        yield
    except ServerFailedError as error:
        if error.log:
            show_log(error.log)
        raise CommandError(str(error)) from error
    except StackError as error:
        raise CommandError(str(error)) from error
