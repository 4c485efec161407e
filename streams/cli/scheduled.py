"""`streams scheduled`: events for later, seen and taken back."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from streams.cli.db import ledger
from streams.cli.help import Command, Group, examples
from streams.cli.ids import event_id_of
from streams.cli.options import prints_rows
from streams.cli.output import CommandError, JSONOption, Output, print_json, print_rows, say
from streams.cli.tables import Column
from streams.database import Database
from streams.operations.scheduled import list_scheduled
from streams.publishing.outbox.withdraw import RelayBusyError, Withdrawn, withdraw
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="Events for later: what waits for its time, and a way to take it back.",
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
    topic: Annotated[str | None, typer.Option("--topic", help="Only this topic.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the next to go out first.")] = 50,
) -> None:
    """Events that wait for their time, the next to go out first."""
    settings = load_settings()
    name = None if topic is None else build_catalogue(settings).topic(topic).name
    with ledger(settings) as engine, engine.connect() as connection:
        found = list_scheduled(connection, topic=name, tenant_id=tenant, limit=limit)
    print_rows([asdict(one) for one in found], COLUMNS, output, empty="nothing is scheduled")


@app.command("cancel", cls=Command, epilog=examples("streams scheduled cancel 0198a1b2-0000-7000-8000-000000000001"))
def cancel(
    events: Annotated[
        list[str], typer.Argument(metavar="ID", help="As `scheduled list` shows them, or their beginnings.")
    ],
    *,
    as_json: JSONOption = False,
) -> None:
    """Take events back before they go out. It cannot be undone; what has gone out already is named, and goes on."""
    settings = load_settings()
    with ledger(settings) as engine:
        with engine.connect() as connection:
            ids = [event_id_of(connection, event) for event in events]
        try:
            withdrawn = asyncio.run(_withdraw(settings, ids))
        except RelayBusyError as error:
            raise CommandError(str(error)) from error
    topics = {one.event_id: one.topic for one in withdrawn}
    if as_json:
        print_json([{"event_id": one, "topic": topics.get(one), "cancelled": one in topics} for one in ids])
    else:
        for event_id, topic in topics.items():
            say(f"event {event_id} for {topic} is cancelled")
    if gone := [event_id for event_id in ids if event_id not in topics]:
        more = f" (nor do {len(gone) - 1} others)" if len(gone) > 1 else ""
        message = f"event {gone[0]} does not wait for its time{more}: it has gone out, was cancelled, or never was"
        raise CommandError(message)


async def _withdraw(settings: Settings, ids: Sequence[UUID]) -> list[Withdrawn]:
    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=1)
    try:
        async with AsyncSession(database.effects) as session, session.begin():
            return await withdraw(session, ids, scheduled_only=True)
    finally:
        await database.dispose()
