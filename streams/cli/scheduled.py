"""`streams scheduled`: lists and cancels scheduled events."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from streams.cli.db import open_ledger
from streams.cli.help import Command, Group, examples
from streams.cli.ids import resolve_event_id
from streams.cli.options import MAX_ROWS, prints_rows
from streams.cli.output import CommandError, JSONOption, Output, print_json, print_rows, print_text
from streams.cli.tables import Column
from streams.database import Database
from streams.operations.scheduled import list_scheduled
from streams.publishing.outbox.withdraw import RelayBusyError, Withdrawn, withdraw
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List and cancel scheduled events.",
    epilog=examples("streams scheduled list"),
)

COLUMNS = (
    Column("event_id", 1),
    Column("topic", 3),
    Column("key", 5),
    Column("tenant_id", 4),
    Column("due_at", 2),
    Column("expires_at", 6),
    Column("published_at", 7),
)


@app.command("list", cls=Command, epilog=examples("streams scheduled list", "streams scheduled list --tenant t-1"))
@prints_rows
def list_command(
    output: Output,
    *,
    topic: Annotated[str | None, typer.Option("--topic", help="Show only events of this topic.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Show only events of this tenant.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_ROWS, help="Show at most this many rows.")] = 50,
) -> None:
    """List the events that wait for their time, the next due first."""
    settings = load_settings()
    name = None if topic is None else build_catalogue(settings).topic(topic).name
    with open_ledger(settings) as engine, engine.connect() as connection:
        found = list_scheduled(connection, topic=name, tenant_id=tenant, limit=limit)
    print_rows([asdict(one) for one in found], COLUMNS, output, empty="nothing is scheduled")


@app.command("cancel", cls=Command, epilog=examples("streams scheduled cancel 0198a1b2-0000-7000-8000-000000000001"))
def cancel(
    events: Annotated[list[str], typer.Argument(metavar="ID", help="The ids of events, or the beginnings of them.")],
    *,
    as_json: JSONOption = False,
) -> None:
    """Cancel scheduled events before they are published. This cannot be undone.

    The command fails for an event that was already published; that event is not changed.
    """
    settings = load_settings()
    with open_ledger(settings) as engine:
        with engine.connect() as connection:
            ids = [resolve_event_id(connection, event) for event in events]
        try:
            withdrawn = asyncio.run(_withdraw(settings, ids))
        except RelayBusyError as error:
            raise CommandError(str(error)) from error
    topics = {one.event_id: one.topic for one in withdrawn}
    if as_json:
        print_json([{"event_id": one, "topic": topics.get(one), "cancelled": one in topics} for one in ids])
    else:
        for event_id, topic in topics.items():
            print_text(f"event {event_id} for {topic} is cancelled")
    if missing := [event_id for event_id in ids if event_id not in topics]:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        message = (
            f"event {missing[0]}{more} is not scheduled: it was published or cancelled already, or it does not exist"
        )
        raise CommandError(message)


async def _withdraw(settings: Settings, ids: Sequence[UUID]) -> list[Withdrawn]:
    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=1)
    try:
        async with AsyncSession(database.effects) as session, session.begin():
            return await withdraw(session, ids, scheduled_only=True)
    finally:
        await database.dispose()
