"""Asking Kafka in a command: what it refuses, or that it does not answer, becomes the command's one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from streams.cli.output import CommandError
from streams.operations.kafka_admin import KafkaRefusedError
from streams.transport.kafka.errors import StartError


@contextmanager
def asking_kafka() -> Iterator[None]:
    """Raises CommandError for Kafka's errors within."""
    try:
        yield
    except (StartError, KafkaRefusedError) as error:
        raise CommandError(str(error)) from error
