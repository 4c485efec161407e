"""`streams db`: the database schema `streams`, and the connection that other commands read it with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from streams.cli.help import Command, Group, examples
from streams.cli.output import CommandError, JSONOption, print_json, print_text
from streams.database import DatabaseNotMigratedError, DatabaseUnavailableError, sync_engine
from streams.database.engines import check_migrated, unavailable
from streams.database.migrations import MigrationRefusedError
from streams.database.migrations import upgrade as upgrade_database
from streams.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    help="Create and migrate the database schema `streams`.",
    epilog=examples("streams db upgrade", "streams db upgrade --grant"),
    add_completion=False,
)


@app.callback()
def database() -> None:
    """Keep `upgrade` a subcommand: Typer merges the only command of a group into the group."""


@app.command("upgrade", cls=Command, epilog=examples("streams db upgrade", "streams db upgrade --grant"))
def upgrade(
    *,
    grant: Annotated[
        bool,
        typer.Option(
            "--grant", help="Also grant the rights in the schema to the roles of `streams acls --format sql`."
        ),
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Create or migrate the schema `streams`. It changes no other schema and is safe to repeat."""
    try:
        done = upgrade_database(load_settings(), grant=grant)
    except (DatabaseUnavailableError, MigrationRefusedError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({"before": done.before, "after": done.after, "partitions": len(done.partitions)})
    elif done.before == done.after and not done.partitions:
        print_text(f"the schema streams is at {done.after}: nothing to do")
    else:
        print_text(f"the schema streams is at {done.after}; {len(done.partitions)} partitions were created")


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Engine]:
    """Open an engine on the migrated database.

    Raises:
        CommandError: The database is unreachable or not migrated, or the connection is lost inside the block.
    """
    engine = sync_engine(settings)
    try:
        with engine.connect() as connection:
            check_migrated(connection)
        yield engine
    except OperationalError as error:
        raise CommandError(str(unavailable(settings, error))) from error
    except DatabaseNotMigratedError as error:
        raise CommandError(str(error)) from error
    finally:
        engine.dispose()
