"""`streams relay`: a process that only relays the outbox to Kafka."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from typing import Annotated

import typer

from streams.cli.help import Command, examples
from streams.cli.output import CommandError, JSONOption, print_json, print_text
from streams.database import Database, DatabaseNotMigratedError, DatabaseUnavailableError, check_database
from streams.observability.logs import configure_logging, get_logger
from streams.observability.sentry.engine_failures import sentry_reports
from streams.publishing.outbox.relay import Relay
from streams.settings import Settings, load_sentry_settings, load_settings
from streams.transport.kafka.client import check_brokers, client_logger
from streams.transport.kafka.errors import BrokersUnreachableError, StartError, TransportError
from streams.transport.kafka.producer import RecordProducer

app = typer.Typer(add_completion=False)

log = get_logger(__name__)
GC_THRESHOLD = 100_000
FIRST_DELAY, LAST_DELAY = 0.5, 10.0
"""Seconds between two checks of an unavailable server, with --wait."""


@app.command(cls=Command, epilog=examples("streams relay", "streams relay --wait"))
def relay(
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for an unavailable database or Kafka at the start, instead of failing.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Relay the outbox to Kafka until SIGTERM. Any number of relays may run, with or without workers; one is active.

    The log says which relay is active. After the start, an unavailable server is waited for.
    """
    settings = load_settings()
    configure_logging(settings)
    client_logger.setLevel(logging.NOTSET)
    try:
        with sentry_reports(load_sentry_settings()):
            acknowledged = asyncio.run(_relay(settings, wait=wait))
    except (DatabaseUnavailableError, DatabaseNotMigratedError, StartError, TransportError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({"acknowledged": acknowledged})
    else:
        print_text(f"{acknowledged} events acknowledged")


async def _relay(settings: Settings, *, wait: bool) -> int:
    """Relay until a signal. Returns how many rows Kafka acknowledged.

    Raises:
        DatabaseUnavailableError: The database does not answer at the start, without `wait`.
        DatabaseNotMigratedError: The schema is missing or old.
        StartError: Kafka does not answer at the start, without `wait`, or refuses the connection.
        TransportError: The producer failed fatally.
    """
    stop, failures = asyncio.Event(), list[TransportError]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for check in (check_database, check_brokers):
        await _wait_until_passed(check, settings, stop, wait=wait)
    if stop.is_set():
        return 0

    def on_fatal(error: TransportError) -> None:
        failures.append(error)
        stop.set()

    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=1)
    records = RecordProducer(settings, on_fatal=on_fatal)
    await records.start()
    outbox_relay = Relay(database.bookkeeping, records, settings)
    # The loaded modules stay alive, so the garbage collector does not have to traverse them again.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    running = asyncio.create_task(outbox_relay.run(stop))
    try:
        await stop.wait()
        # A batch that Kafka has not acknowledged is sent again later, so waiting longer has no use.
        await asyncio.wait({running}, timeout=settings.drain_timeout)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await records.stop()
        await database.dispose()
    if failures:
        raise failures[0]
    return outbox_relay.acknowledged


async def _wait_until_passed(
    check: Callable[[Settings], object], settings: Settings, stop: asyncio.Event, *, wait: bool
) -> None:
    """Wait until a check passes or `stop` is set. With `wait`, an unavailable server is checked again.

    Args:
        check: The check; its other errors are raised.
        settings: The settings to check with.
        stop: Ends the waiting.
        wait: Repeat the check while the server is unavailable.
    """
    delay = FIRST_DELAY
    while not stop.is_set():
        try:
            await asyncio.to_thread(check, settings)
        except (DatabaseUnavailableError, BrokersUnreachableError) as error:
            if not wait:
                raise
            log.warning("waiting for a server", error=str(error), retry_in_seconds=delay)
            await asyncio.wait({asyncio.ensure_future(stop.wait())}, timeout=delay)
            delay = min(2 * delay, LAST_DELAY)
        else:
            return
