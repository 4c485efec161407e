"""`streams executions`: lists, shows and cancels executions."""

import asyncio
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncSession

from streams.cli.cluster import require_whole_lag
from streams.cli.db import open_ledger
from streams.cli.execution_page import STATUS, execution_page
from streams.cli.help import Command, Group, examples
from streams.cli.ids import resolve_event_id
from streams.cli.operator import operator_note
from streams.cli.options import MAX_ROWS, prints_rows
from streams.cli.output import CommandError, JSONOption, Output, print_json, print_lines, print_rows, print_text
from streams.cli.tables import Column
from streams.codec import build_codec
from streams.database import Database
from streams.delivery.context import Services
from streams.operations.cancel import Cancellation, CancelRefusedError
from streams.operations.executions import (
    DURABLE,
    ExecutionFilter,
    count_by_status,
    count_outbox,
    list_executions,
    show_executions,
    summarize,
    waiting_in_outbox,
)
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import group_lag
from streams.publishing.outbox.withdraw import RelayBusyError
from streams.runtime.declarations import build_catalogue, build_handlers
from streams.settings import Settings, load_settings
from streams.transport.kafka.errors import BrokersUnreachableError

app = typer.Typer(
    cls=Group,
    add_completion=False,
    help="List, show and cancel executions: what each handler did with an event.",
    epilog=examples("streams executions list", "streams executions show 0198a1b2"),
)

COLUMNS = (
    Column("event_id", 1),
    Column("handler", 3),
    Column("topic", 7),
    Column("pool", 10),
    Column("tenant_id", 8),
    Column("status", 2, styles=STATUS),
    Column("attempts", 6),
    Column("created_at", 4),
    Column("started_at", 11),
    Column("completed_at", 9),
    Column("error", 5, min_width=20),
)
SUMMARY = (
    Column("handler", 1),
    *(Column(name, number) for number, name in enumerate(("pending", "received", "started", "retry", "success"), 3)),
    Column("failure", 2),
)


class Status(StrEnum):
    """The statuses of ledger rows. Pending and received events have no row; `summary` counts them."""

    STARTED = "started"
    RETRY = "retry"
    SUCCESS = "success"
    FAILURE = "failure"


EventArgument = Annotated[str, typer.Argument(metavar="EVENT_ID", help="The event's id, or the beginning of it.")]
HandlerOption = Annotated[str | None, typer.Option("--handler", help="Select only executions of this handler.")]


@app.command(
    "list",
    cls=Command,
    epilog=examples(
        "streams executions list --status failure", "streams executions list --handler clean-document --limit 10"
    ),
)
@prints_rows
def list_command(  # noqa: PLR0913 - one option a filter
    output: Output,
    *,
    status: Annotated[Status | None, typer.Option("--status", help="Show only executions with this status.")] = None,
    handler: HandlerOption = None,
    topic: Annotated[str | None, typer.Option("--topic", help="Show only events of this topic.")] = None,
    event: Annotated[UUID | None, typer.Option("--event", help="Show only executions of this event.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Show only events of this tenant.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=MAX_ROWS, help="Show at most this many rows.")] = 50,
) -> None:
    """List executions, the newest first."""
    settings = load_settings()
    filters = ExecutionFilter(
        status=None if status is None else next(known for known in DURABLE if known == status.value),
        handler=handler,
        topic=_topic(settings, topic, handler),
        event_id=event,
        tenant_id=tenant,
    )
    with open_ledger(settings) as engine, engine.connect() as connection:
        found = list_executions(connection, filters, limit)
    print_rows(found, COLUMNS, output, empty="no executions")


@app.command(
    "show",
    cls=Command,
    epilog=examples("streams executions show 0198a1b2-0000", "streams executions show 0198a1b2 --output json"),
)
@prints_rows
def show(output: Output, event: EventArgument, handler: HandlerOption = None) -> None:
    """Show the executions of an event, one per handler, each with all its attempts."""
    settings = load_settings()
    with open_ledger(settings) as engine:
        with engine.connect() as connection:
            event_id = resolve_event_id(connection, event)
        found = _find(engine, event_id, handler)
    found = [{**one, "trace_url": settings.trace_link(_text(one["trace_id"]))} for one in found]
    if output.is_table:
        print_lines(execution_page(found, output.screen), output.screen)
    else:
        print_rows(found, (), output)


@app.command(
    "cancel",
    cls=Command,
    epilog=examples("streams executions cancel 0198a1b2-0000-7000-8000-000000000001"),
)
def cancel(event: EventArgument, handler: HandlerOption = None, *, as_json: JSONOption = False) -> None:
    """Cancel the waiting work of an event. This cannot be undone.

    It cancels an execution that waits for its next attempt, or the event's row in the outbox.
    """
    settings = load_settings()
    with open_ledger(settings) as engine:
        with engine.connect() as connection:
            event_id = resolve_event_id(connection, event)
        try:
            note = operator_note("executions", "cancel", str(event_id), handler=handler)
            ended = asyncio.run(_cancel(settings, event_id, handler, note))
        except (CancelRefusedError, RelayBusyError) as error:
            raise CommandError(str(error)) from error
    if as_json:
        print_json({"event_id": event_id, "cancelled": ended})
    else:
        print_text(f"event {event_id} is cancelled: {', '.join(ended)}")


async def _cancel(settings: Settings, event_id: UUID, handler: str | None, by: str) -> list[str]:
    from streams.dify.platform import build_platform  # noqa: PLC0415 - slow to load; only this command needs it

    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=1)
    codec = build_codec(settings, build_catalogue(settings))
    handlers = {known.name: known for known in build_handlers(settings)}
    try:
        async with AsyncSession(database.effects) as session, session.begin():
            services = Services(build_platform(settings))
            return await Cancellation(codec, services, handlers).cancel(session, event_id, handler, by=by)
    finally:
        await database.dispose()


@app.command("summary", cls=Command, epilog=examples("streams executions summary"))
@prints_rows
def summary(output: Output) -> None:
    """Count the deliveries of each handler by status.

    Pending is computed: the events in the outbox plus the lag of the handler's topic. Deliveries that a worker has
    received and not started count as pending, since only that worker knows of them.
    """
    settings = load_settings()
    catalogue = build_catalogue(settings)
    handlers = [(handler.name, catalogue.of(handler.event).name) for handler in build_handlers(settings)]
    with open_ledger(settings) as engine, engine.connect() as connection:
        counts, waiting = count_by_status(connection), count_outbox(connection)
    try:
        reading = group_lag(settings, catalogue)
    except (BrokersUnreachableError, KafkaRefusedError) as error:
        raise CommandError(str(error)) from error
    print_rows([asdict(row) for row in summarize(handlers, counts, waiting, reading.lags)], SUMMARY, output)
    require_whole_lag(reading.unknown)


def _topic(settings: Settings, topic: str | None, handler: str | None) -> str | None:
    """Return the given topic, or else the handler's one topic: the ledger has an index by topic."""
    catalogue = build_catalogue(settings)
    if topic is not None:
        return catalogue.topic(topic).name
    events = [known.event for known in build_handlers(settings) if known.name == handler]
    return catalogue.of(events[0]).name if events else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _find(engine: Engine, event_id: UUID, handler: str | None) -> list[dict[str, object]]:
    with engine.connect() as connection:
        found = show_executions(connection, event_id, handler)
        waiting = None if found else waiting_in_outbox(connection, event_id)
    if found:
        return found
    if waiting is None:
        of_handler = f" of {handler}" if handler else ""
        message = f"the ledger has no execution{of_handler} for event {event_id}: not published, or not started yet"
    elif waiting.refusal is not None:
        message = (
            f"event {event_id} is set aside in the outbox: Kafka refused it for {waiting.topic}: {waiting.refusal}"
        )
    else:
        due = f" until {waiting.due_at.isoformat()}" if waiting.due_at else ""
        message = f"event {event_id} is pending: it waits in the outbox for {waiting.topic}{due}"
    raise CommandError(message)
