"""The timestamps of the oldest unsettled records, with a cache: a record is read once, not at each collection."""

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException

from streams.observability.metrics import Lag
from streams.operations.monitoring.sample import Place
from streams.operations.oldest import read_timestamps, record_consumer
from streams.settings import Settings


@dataclass(frozen=True, slots=True)
class _Known:
    """A timestamp, and the offsets of the partition when it was read."""

    current_offset: int
    end_offset: int
    at: float | None
    """None: no record was there up to the end."""

    def holds_for(self, lag: Lag) -> bool:
        """Return whether the partition's oldest unsettled record is still this one.

        An end that went back shows that the topic was created again.
        """
        if lag.current_offset != self.current_offset or lag.end_offset < self.end_offset:
            return False
        return self.at is not None or lag.end_offset == self.end_offset


class RecordTimes:
    """Reads the timestamps again and again. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._consumer: Consumer | None = record_consumer(settings)
        self._known: dict[Place, _Known] = {}

    def read(self, lags: Iterable[Lag]) -> dict[Place, float | None]:
        """Return the timestamp of the first unsettled record in each partition that has lag.

        It is in seconds since the epoch. None: no record is there. A partition is left out whose record does not come
        within `kafka_request_timeout`; the next call tries it again. Raises KafkaException.
        """
        waiting = {(lag.topic, lag.partition): lag for lag in lags if lag.lag}
        self._known = {
            place: known
            for place, known in self._known.items()
            if (lag := waiting.get(place)) is not None and known.holds_for(lag)
        }
        missing = {place: lag for place, lag in waiting.items() if place not in self._known}
        if missing:
            self._read(missing)
        return {place: known.at for place, known in self._known.items()}

    def poll(self) -> None:
        """Let librdkafka write its log lines: it keeps them in memory until then."""
        if self._consumer is not None:
            self._consumer.poll(0)

    def _read(self, missing: dict[Place, Lag]) -> None:
        if self._consumer is None:
            self._consumer = record_consumer(self._settings)
        found: dict[Place, float | None] = {}
        try:
            read_timestamps(self._consumer, missing, self._settings.kafka_request_timeout, found)
        except KafkaException:
            failed, self._consumer = self._consumer, None
            failed.close()
            raise
        finally:
            self._known |= {
                place: _Known(missing[place].current_offset, missing[place].end_offset, at)
                for place, at in found.items()
            }
