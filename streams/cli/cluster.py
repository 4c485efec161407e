"""Kafka's errors in a command: an unreachable cluster, a refused request or an unknown lag becomes one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby

from streams.cli.output import CommandError
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import UnknownLag
from streams.transport.kafka.errors import StartError


@contextmanager
def kafka_errors_as_command_errors() -> Iterator[None]:
    """Translate Kafka's errors inside the block. Raises CommandError."""
    try:
        yield
    except (StartError, KafkaRefusedError) as error:
        raise CommandError(str(error)) from error


def unknown_lag_line(unknown: Sequence[UnknownLag]) -> str | None:
    """Return one line that names each partition whose lag is unknown, and the first reason. None: there is none."""
    if not unknown:
        return None
    names = []
    for topic, group in groupby(sorted(unknown, key=lambda one: one.topic), key=lambda one: one.topic):
        numbers = sorted(one.partition for one in group if one.partition is not None)
        names.append(f"{topic} {numbers}" if numbers else topic)
    return f"left out, since its lag is unknown: {', '.join(names)}; {unknown[0].error}"


def require_whole_lag(unknown: Sequence[UnknownLag]) -> None:
    """Raise CommandError if some lag is unknown, after what is known was printed: nobody may take it for everything."""
    line = unknown_lag_line(unknown)
    if line is not None:
        raise CommandError(line)
