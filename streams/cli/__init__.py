"""The `streams` command. Each file is one command or one group of commands."""

import importlib
import logging
import sys
from difflib import get_close_matches
from typing import Annotated

import typer
from typer.core import TyperCommand, TyperGroup

import streams
from streams.cli.help import Group, examples, usage_problem
from streams.cli.output import WRONG_REQUEST, CommandError, run_reporting_errors
from streams.observability.logs import configure_logging
from streams.settings import Settings
from streams.transport.kafka.client import client_logger

COMMANDS = (
    "local",
    "db",
    "doctor",
    "topics",
    "handlers",
    "schemas",
    "executions",
    "scheduled",
    "schedules",
    "dlq",
    "outbox",
    "publish",
    "relay",
    "exporter",
    "pools",
    "breakers",
    "acls",
    "settings",
    "lag",
    "top",
    "demo",
)
"""The commands in the order of the help. Each is the `app` of the file with the same name."""
QUIET = Settings.model_construct(log_level="warning", log_format="auto")
"""A command logs warnings only, since its result is its output. In force before the settings are read."""


class _Commands(Group):
    """Loads a command's file when the command is called: loading all takes longer than most commands run."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperGroup | TyperCommand:  # noqa: ARG002
        """Load a command by its name. Raises CommandError for an unknown name."""
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            message = f"there is no command {cmd_name}: {f'`streams {near[0]}`?' if near else 'see `streams --help`'}"
            raise CommandError(message, WRONG_REQUEST)
        found = typer.main.get_command(importlib.import_module(f"{__name__}.{cmd_name}").app)
        assert isinstance(found, TyperGroup | TyperCommand)  # noqa: S101 - Typer makes no others
        found.name = cmd_name
        return found


app = typer.Typer(
    name="streams",
    cls=_Commands,
    help="Kafka event pipeline: publish events, run workers, inspect and repair their results.",
    epilog=examples("streams local up", "streams executions list --status failure", "streams lag --watch"),
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's signature
    if wanted:
        typer.echo(f"streams {streams.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Accept the options before a command's name."""


def main() -> None:
    """Entry point: run a command. A known error becomes one line on stderr and its exit code."""
    configure_logging(QUIET)
    client_logger.setLevel(logging.CRITICAL)  # the command reports the client's errors itself, in one line
    run_reporting_errors(_run)


def _run() -> None:
    """Run the command that the arguments name. Raises CommandError if the arguments are wrong."""
    for place, argument in enumerate(sys.argv[1:], start=1):
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            message = f"argument {place} is not UTF-8: {argument!r}"
            raise CommandError(message, WRONG_REQUEST) from error
    try:
        code = app(prog_name="streams", standalone_mode=False)
    except typer.TyperException as error:
        raise CommandError(usage_problem(error), error.exit_code) from error
    sys.exit(code)
