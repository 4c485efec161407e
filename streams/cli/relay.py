"""`streams relay`: a process that only carries the outbox to Kafka."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from typing import Annotated

import typer

from streams.cli.help import Command, examples
from streams.cli.output import CommandError, JSONOption, print_json, say
from streams.database import Database, DatabaseNotMigratedError, DatabaseUnavailableError, check_database
from streams.observability.logs import configure_logging, get_logger
from streams.publishing.outbox.relay import Relay
from streams.settings import Settings, load_settings
from streams.transport.kafka.client import check_brokers, client_logger
from streams.transport.kafka.errors import BrokersUnreachableError, StartError, TransportError
from streams.transport.kafka.producer import RecordProducer

app = typer.Typer(add_completion=False)

log = get_logger(__name__)
GC_THRESHOLD = 100_000
FIRST_PAUSE, LAST_PAUSE = 0.5, 10.0
"""Seconds between two looks whether a server answers by now, with --wait."""


@app.command(cls=Command, epilog=examples("streams relay", "streams relay --wait"))
def relay(
    *,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a database or Kafka that does not answer, instead of ending.")
    ] = False,
    as_json: JSONOption = False,
) -> None:
    """Carry the outbox to Kafka until SIGTERM. Any number may run, beside workers or without; one is active.

    Its log says which it is. What fails after the start is waited out.
    """
    settings = load_settings()
    configure_logging(settings)
    client_logger.setLevel(logging.NOTSET)
    try:
        acknowledged = asyncio.run(_relay(settings, wait=wait))
    except (DatabaseUnavailableError, DatabaseNotMigratedError, StartError, TransportError) as error:
        raise CommandError(str(error)) from error
    if as_json:
        print_json({"acknowledged": acknowledged})
    else:
        say(f"{acknowledged} events acknowledged")


async def _relay(settings: Settings, *, wait: bool) -> int:
    """Relay until a signal; how many rows Kafka acknowledged. Raises what the checks raise, TransportError."""
    stop, failures = asyncio.Event(), list[TransportError]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for check in (check_database, check_brokers):
        await _passed(check, settings, stop, wait=wait)
    if stop.is_set():
        return 0

    def on_fatal(error: TransportError) -> None:
        failures.append(error)
        stop.set()

    database = Database(settings, effects_pool_size=1, bookkeeping_pool_size=1)
    records = RecordProducer(settings, on_fatal=on_fatal)
    await records.start()
    one = Relay(database.bookkeeping, records, settings)
    # What is loaded by now stays: the collector need not look through it again for every few hundred rows.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    running = asyncio.create_task(one.run(stop))
    try:
        await stop.wait()
        # A batch that Kafka does not take goes back and out again: it is not worth more than a drain.
        await asyncio.wait({running}, timeout=settings.drain_timeout)
    finally:
        running.cancel()
        await asyncio.wait({running})
        await records.stop()
        await database.dispose()
    if failures:
        raise failures[0]
    return one.acknowledged


async def _passed(check: Callable[[Settings], object], settings: Settings, stop: asyncio.Event, *, wait: bool) -> None:
    """Return once a check passes, or at `stop`. Raises what it raises: of a server that is away only without `wait`."""
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            await asyncio.to_thread(check, settings)
        except (DatabaseUnavailableError, BrokersUnreachableError) as error:
            if not wait:
                raise
            log.warning("waiting for a server", error=str(error), retry_in_seconds=pause)
            await asyncio.wait({asyncio.ensure_future(stop.wait())}, timeout=pause)
            pause = min(2 * pause, LAST_PAUSE)
        else:
            return
