"""`streams exporter`: a process that serves metrics of all groups, topics and tables to Prometheus."""

import asyncio
import logging

import typer

from streams.cli.help import Command, examples
from streams.cli.output import CommandError, JSONOption, exit_without_closing, print_json, print_text
from streams.observability.logs import configure_logging
from streams.operations.monitoring.exporter import ExporterCollector, exporter_registry
from streams.operations.monitoring.families import KnownNames
from streams.operations.monitoring.server import PortTakenError, listen, serve
from streams.operations.monitoring.sources import database_source, kafka_source
from streams.runtime.declarations import build_catalogue
from streams.runtime.handler_names import HandlerNames
from streams.settings import load_settings
from streams.transport.kafka.client import client_logger

app = typer.Typer(add_completion=False)

END_SECONDS = 0.5
"""How long the end of the process waits for a collection that is under way."""


@app.command(cls=Command, epilog=examples("streams exporter"))
def exporter(*, as_json: JSONOption = False) -> None:
    """Serve metrics of all groups, topics, dead letters, schedules and the outbox to Prometheus until SIGTERM.

    It asks Kafka and the database at an interval, so the metrics are right while no worker runs. It has the pages
    /metrics, /health/live and /health/ready on STREAMS_EXPORTER_HOST and STREAMS_EXPORTER_PORT.
    """
    settings = load_settings()
    configure_logging(settings)
    client_logger.setLevel(logging.NOTSET)
    catalogue = build_catalogue(settings)
    try:
        listening = listen(settings)
    except PortTakenError as error:
        raise CommandError(str(error)) from error
    kafka = kafka_source(settings, catalogue, settings.exporter_interval)
    database = database_source(settings, catalogue, settings.exporter_interval)
    topics = frozenset(topic.name for topic in catalogue)
    handlers = HandlerNames(topics)

    def names() -> KnownNames | None:
        known = handlers.known
        return None if known is None else KnownNames(topics, known.handlers, known.topics)

    collector = ExporterCollector(kafka, database, names)
    handlers.start()
    kafka.start()
    database.start()
    asyncio.run(serve(listening, exporter_registry(collector), (kafka, database), lambda: handlers.known is not None))
    handlers.stop()
    kafka.stop(END_SECONDS)
    database.stop(END_SECONDS)
    if as_json:
        print_json({"stopped": True})
    else:
        print_text("stopped")
    exit_without_closing()
