"""`streams db`: the schema `streams` in the ledger's database; and the connection that other commands read it by."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from streams.cli.help import Command, Group, examples
from streams.cli.output import CommandError, JSONOption, print_json, say
from streams.database import DatabaseNotMigratedError, DatabaseUnavailableError, sync_engine
from streams.database.engines import check_migrated, unavailable
from streams.database.migrations import MigrationRefusedError
from streams.database.migrations import upgrade as upgrade_database
from streams.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    help="The schema `streams` in the database.",
    epilog=examples("streams db upgrade"),
    add_completion=False,
)


@app.callback()
def database() -> None:
    """Keeps `upgrade` a command of its group, though it is the only one."""


@app.command("upgrade", cls=Command, epilog=examples("streams db upgrade"))
def upgrade(*, as_json: JSONOption = False) -> None:
    """Make or migrate the schema `streams`; touches no other. Safe to repeat."""
    try:
        done = upgrade_database(load_settings())
    except (DatabaseUnavailableError, MigrationRefusedError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({"before": done.before, "after": done.after, "partitions": len(done.partitions)})
    elif done.before == done.after and not done.partitions:
        say(f"the schema streams is at {done.after}: nothing to do")
    else:
        say(f"the schema streams is at {done.after}, {len(done.partitions)} partitions were made")


@contextmanager
def ledger(settings: Settings) -> Iterator[Engine]:
    """An engine on a database that is there and migrated; a CommandError where it is not, or goes away."""
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
