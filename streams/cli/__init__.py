"""The `streams` command: one file a group of commands."""

import typer

from streams.cli import db, demo, dlq, executions, lag, local, pools, publish, schemas, topics
from streams.cli.output import run_reporting_errors

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
app.add_typer(schemas.app, name="schemas")
app.add_typer(executions.app, name="executions")
app.add_typer(dlq.app, name="dlq")
app.command("publish")(publish.publish)
app.command("pools")(pools.pools)
app.command("lag")(lag.lag)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point: run a command; what fails becomes one clear line on stderr and a meant exit code."""
    run_reporting_errors(app)
