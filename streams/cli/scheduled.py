"""`streams scheduled`: events for later, seen and taken back."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from streams.cli.db import ledger
from streams.cli.output import CommandError, JSONOption, print_json, print_rows
from streams.database import Database
from streams.operations.scheduled import list_scheduled
from streams.publishing.outbox.withdraw import RelayBusyError, Withdrawn, withdraw
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings

app = typer.Typer(
    add_completion=False,
    help="Events for later: what waits for its time, and a way to take it back.",
    no_args_is_help=True,
)


@app.command("list")
def list_command(
    *,
    topic: Annotated[str | None, typer.Option("--topic", help="Only this topic.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the next to go out first.")] = 50,
    as_json: JSONOption = False,
) -> None:
    """Events that wait for their time, the next to go out first."""
    settings = load_settings()
    name = None if topic is None else build_catalogue(settings).topic(topic).name
    with ledger(settings) as engine, engine.connect() as connection:
        found = list_scheduled(connection, topic=name, tenant_id=tenant, limit=limit)
    print_rows([asdict(one) for one in found], as_json=as_json, empty="nothing is scheduled")


@app.command("cancel")
def cancel(
    ids: Annotated[list[UUID], typer.Argument(metavar="ID…", help="As `scheduled list` shows them.")],
    *,
    as_json: JSONOption = False,
) -> None:
    """Take events back before they go out. It cannot be undone; what has gone out already is named, and goes on."""
    settings = load_settings()
    with ledger(settings):
        try:
            withdrawn = asyncio.run(_withdraw(settings, ids))
        except RelayBusyError as error:
            raise CommandError(str(error)) from error
    topics = {one.event_id: one.topic for one in withdrawn}
    if as_json:
        print_json([{"event_id": one, "topic": topics.get(one), "cancelled": one in topics} for one in ids])
    else:
        for event_id, topic in topics.items():
            typer.echo(f"event {event_id} for {topic} is cancelled")
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
