"""The two sources of the exporter and of `streams top`, with how long their readings may take."""

from functools import partial

from streams.operations.monitoring.database_reader import STATEMENT_SECONDS, DatabaseReader
from streams.operations.monitoring.kafka_reader import KafkaReader
from streams.operations.monitoring.sample import DatabaseSample, KafkaSample
from streams.operations.monitoring.source import Source
from streams.settings import Settings
from streams.topics import Catalogue

KAFKA = "kafka"
DATABASE = "database"
"""Their names: the values of the label `source`."""


def kafka_source(settings: Settings, catalogue: Catalogue, interval: float) -> Source[KafkaSample]:
    """Return the source for Kafka, not started. Raises KafkaException if librdkafka rejects the settings.

    Args:
        settings: Kafka's addresses and time limits.
        catalogue: The topics and groups.
        interval: Seconds between two readings.
    """
    read = _KafkaReading(settings, catalogue)
    return Source(KAFKA, read, interval, longest=2 * settings.kafka_request_timeout)


class _KafkaReading:
    """Reads Kafka with new clients after a failure: a client may stay in trouble that a new one does not have."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._new = partial(KafkaReader, settings, catalogue)
        self._reader: KafkaReader | None = self._new()

    def __call__(self) -> KafkaSample:
        reader = self._reader = self._reader or self._new()
        try:
            return reader.read()
        except Exception:
            self._reader = None
            raise


def database_source(
    settings: Settings, catalogue: Catalogue, interval: float, *, deaths: int = 0
) -> Source[DatabaseSample]:
    """Return the source for the ledger's database, not started. Raises SettingsError for a wrong URL.

    Args:
        settings: The database's URL and time limits.
        catalogue: The topics, whose DLQs may have dead letters.
        interval: Seconds between two readings.
        deaths: How many of the newest dead letters are read.
    """
    read = DatabaseReader(settings, catalogue, deaths=deaths).read
    return Source(DATABASE, read, interval, longest=settings.database_connect_timeout + STATEMENT_SECONDS)
