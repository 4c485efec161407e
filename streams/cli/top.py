"""`streams top`: a live view of pools, topics, breakers, paused things and dead letters."""

import logging
import shutil
import signal
import time
from datetime import UTC, datetime
from itertools import count
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live

from streams.cli.help import Command, examples
from streams.cli.output import CommandError, JSONOption, exit_without_closing, print_json, print_lines
from streams.cli.screen import stdout_screen
from streams.cli.top_screen import top_lines
from streams.operations.monitoring.overview import KafkaSamples, Overview, build_overview
from streams.operations.monitoring.sample import DatabaseSample, KafkaSample
from streams.operations.monitoring.source import Reading, Source
from streams.operations.monitoring.sources import database_source, kafka_source
from streams.runtime.declarations import build_catalogue
from streams.settings import Settings, load_settings
from streams.topics import Catalogue

app = typer.Typer(add_completion=False)

INTERVAL = 2.0
"""Seconds between two samples. Workers commit every second, so a shorter interval gives no useful rate."""
DEATHS = 5
FIRST_DRAW, FIRST_DRAWS = 0.2, 50
"""Seconds between two drawings until both sources have answered, and for how many drawings."""


@app.command(cls=Command, epilog=examples("streams top", "streams top --interval 5", "streams top --json"))
def top(
    *,
    interval: Annotated[
        float, typer.Option("--interval", help="Seconds between two samples.", min=0.5, max=3600)
    ] = INTERVAL,
    as_json: JSONOption = False,
) -> None:
    """Show pools, topics, rates, ages, breakers, pauses and the last dead letters until Ctrl-C.

    in: records published per second. out: records settled per second. Both are measured between two samples. With
    --json, or without a terminal, it takes two samples and prints the second one.
    """
    settings = load_settings()
    # The screen shows why a server does not answer; only what nobody expects is logged.
    logging.getLogger("streams.operations.monitoring").setLevel(logging.ERROR)
    watch = Watch(settings, build_catalogue(settings), interval)
    screen = stdout_screen()
    if as_json or not screen.is_terminal:
        try:
            overview = watch.one_sample()
        finally:
            watch.stop()
        if as_json:
            print_json(overview.as_json())
        else:
            print_lines(top_lines(overview, screen), screen)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the cursor is shown again
    try:
        watch.run()
    except KeyboardInterrupt:
        exit_without_closing()


class Watch:
    """The sources in the background, and what they last reported."""

    def __init__(self, settings: Settings, catalogue: Catalogue, interval: float) -> None:
        """Start to read the sources.

        Args:
            settings: The servers.
            catalogue: The topics and pools.
            interval: Seconds between two samples.
        """
        self._catalogue = catalogue
        self._interval = interval
        self._patience = settings.kafka_request_timeout + settings.database_connect_timeout
        self._kafka: Source[KafkaSample] = kafka_source(settings, catalogue, interval)
        self._database: Source[DatabaseSample] = database_source(settings, catalogue, interval, deaths=DEATHS)
        self._samples = KafkaSamples()
        self._kafka.start()
        self._database.start()

    def stop(self) -> None:
        """Stop reading, without waiting for a reading that is under way."""
        self._kafka.stop(0)
        self._database.stop(0)

    def one_sample(self) -> Overview:
        """Return the overview after two samples of Kafka. Raises CommandError if neither source answers."""
        self._kafka.wait(1, self._patience)
        if self.refresh().brokers is not None:
            self._kafka.wait(2, self._interval + self._patience)
        self._database.wait(1, self._patience)
        overview = self.refresh()
        if overview.brokers is None and overview.outbox is None:
            raise CommandError("; ".join(overview.errors.values()))
        return overview

    def run(self) -> None:
        """Draw the overview again and again, until KeyboardInterrupt."""
        with Live(console=Console(highlight=False), auto_refresh=False) as live:
            for drawn in count():
                screen, height = stdout_screen(), shutil.get_terminal_size().lines
                live.update(Group(*top_lines(self.refresh(), screen, height)), refresh=True)
                read = self._kafka.last() is not None and self._database.last() is not None
                soon = not read and drawn < FIRST_DRAWS
                time.sleep(min(FIRST_DRAW, self._interval) if soon else self._interval)

    def refresh(self) -> Overview:
        """Return the overview of the last readings."""
        kafka, database = self._kafka.last(), self._database.last()
        self._samples = self._samples.followed_by(None if kafka is None else kafka.value)
        reasons = {self._kafka.name: _reason(kafka), self._database.name: _reason(database)}
        errors = {name: reason for name, reason in reasons.items() if reason is not None}
        value = None if database is None else database.value
        return build_overview(self._catalogue, self._samples, value, errors, datetime.now(tz=UTC))


def _reason(reading: Reading[KafkaSample] | Reading[DatabaseSample] | None) -> str | None:
    """Return why a source has no figures. None: it has."""
    return "no answer yet" if reading is None else reading.error
