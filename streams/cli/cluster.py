"""Kafka's errors in a command: an unreachable cluster or a refused request becomes one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from streams.cli.output import CommandError
from streams.operations.kafka_admin import KafkaRefusedError
from streams.transport.kafka.errors import StartError


@contextmanager
def kafka_errors_as_command_errors() -> Iterator[None]:
    """Translate Kafka's errors inside the block. Raises CommandError."""
    try:
        yield
    except (StartError, KafkaRefusedError) as error:
        raise CommandError(str(error)) from error
