"""The `streams` command: one file a group of commands."""

import logging

import typer

from streams.cli import (
    breakers,
    db,
    demo,
    dlq,
    executions,
    handlers,
    lag,
    local,
    outbox,
    pools,
    publish,
    relay,
    scheduled,
    schemas,
    settings,
    topics,
)
from streams.cli.output import run_reporting_errors
from streams.observe.logs import configure_logging
from streams.settings import Settings
from streams.transport.client import client_logger

QUIET = Settings.model_construct(log_level="warning", log_format="auto")
"""A command's answer is its output: of its log, warnings only; before the environment's settings are even read."""

app = typer.Typer(
    name="streams",
    help="Kafka event pipeline: publish events, run workers, see and repair what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(local.app, name="local")
app.add_typer(db.app, name="db")
app.add_typer(topics.app, name="topics")
app.add_typer(handlers.app, name="handlers")
app.add_typer(schemas.app, name="schemas")
app.add_typer(executions.app, name="executions")
app.add_typer(scheduled.app, name="scheduled")
app.add_typer(dlq.app, name="dlq")
app.add_typer(outbox.app, name="outbox")
app.command("publish")(publish.publish)
app.command("relay")(relay.relay)
app.command("pools")(pools.pools)
app.command("breakers")(breakers.breakers)
app.command("settings")(settings.settings)
app.command("lag")(lag.lag)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point: run a command; what fails becomes one clear line on stderr and a meant exit code."""
    configure_logging(QUIET)
    client_logger.setLevel(logging.CRITICAL)  # what it complains of is in the command's one line
    run_reporting_errors(app)
