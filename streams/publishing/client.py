"""The librdkafka client of a producer of events. After a fatal error, a new client takes its place.

A client with a fatal error refuses every record until it is closed. A service lives for weeks, so it cannot wait for
that. Causes are, for instance, an account that may not write to any topic yet, and a broker whose answer does not fit
what was sent. A worker and the relay end in place of that: something starts them again.
"""

import threading
import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.settings import Settings
from streams.transport.kafka.client import (
    LastConnectionError,
    client_logger,
    is_fatal,
    poll_reports,
    producer_config,
    reason,
)

REPLACE_SECONDS = 1.0
"""A client serves for this long at least, also with a fatal error. A new one may meet the same at once."""
PURGE_SECONDS = 1.0
DRAIN_STEP_SECONDS = 0.05
UNREACHABLE = frozenset({"_MSG_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN"})
PURGED = frozenset({"_PURGE_QUEUE", "_PURGE_INFLIGHT"})
"""The client has given a record up: it is closed, or it has a fatal error."""
NO_TOPIC = frozenset({"_UNKNOWN_TOPIC", "UNKNOWN_TOPIC_OR_PART"})
TOO_LARGE = "MSG_SIZE_TOO_LARGE"


class ProducerClient:
    """The client that takes records, and those before it that still have delivery reports outstanding."""

    def __init__(self, settings: Settings, timeout: float) -> None:
        """Create the client. A record that is not acknowledged within `timeout` seconds has failed."""
        self._servers = settings.kafka_bootstrap_servers
        self._timeout = timeout
        self._connection_error = LastConnectionError()
        self._fatal_error = ""
        """The text of the last fatal error. Empty: there was none."""
        self._config: dict[str, Any] = {**producer_config(settings, timeout), "error_cb": self._connection_error}
        self._lock = threading.Lock()
        self._replaced: list[Producer] = []
        self._draining = False
        self.current = self._create()

    def poll(self, seconds: float) -> None:
        """Run the callbacks of reports that the client receives within this time."""
        poll_reports(self.current, seconds, self._on_fatal)

    def poll_replaced(self) -> None:
        """Run the callbacks of reports that earlier clients have received. Close those that expect no more."""
        for client in tuple(self._replaced):
            poll_reports(client, 0, self._on_fatal)
            if not len(client):
                self._replaced.remove(client)

    def replace(self, failed: Producer) -> bool:
        """Replace the client that has a fatal error. Returns False if it is too new, or if no other can be created."""
        with self._lock:
            if self.current is failed:
                if time.monotonic() < self._created_at + REPLACE_SECONDS:
                    return False
                try:
                    self.current = self._create()
                except KafkaException as error:
                    client_logger.error("Kafka: the producer gets no new client: %s", reason(error))
                    return False
                self._replaced.append(failed)
        return True

    def drain(self) -> None:
        """Wait up to the timeout for outstanding reports. The records that have none by then fail."""
        self._draining = True
        until = time.monotonic() + self._timeout
        for client in (*self._replaced, self.current):
            if self._await_reports(client, until):
                client.purge()
                self._await_reports(client, time.monotonic() + PURGE_SECONDS)

    def error_message(self, error: KafkaError, topic: str) -> str:
        """Return one line that says why Kafka did not acknowledge an event."""
        name = error.name()
        if name in UNREACHABLE:
            why = self._connection_error
            return f"{topic}: no acknowledgement from Kafka at {self._servers} within {self._timeout:g} s{why}"
        if name in PURGED and self._draining:
            return f"{topic}: no acknowledgement from Kafka at {self._servers} before this EventProducer was closed"
        if name in PURGED or is_fatal(error):
            return f"{topic}: the Kafka client has failed: {self._fatal_error or error.str()}"
        if name in NO_TOPIC:
            return f"there is no topic {topic} on Kafka at {self._servers}: run `streams topics apply`"
        if name == TOO_LARGE:
            return f"{topic}: the event is larger than Kafka accepts"
        return f"{topic}: {error.str()}"

    def _await_reports(self, client: Producer, until: float) -> int:
        """Poll until all reports are there, or until that time. Returns how many are outstanding."""
        while len(client) and time.monotonic() < until:
            poll_reports(client, DRAIN_STEP_SECONDS, self._on_fatal)
        return len(client)

    def _create(self) -> Producer:
        self._created_at = time.monotonic()
        return Producer(self._config, logger=client_logger)

    def _on_fatal(self, error: KafkaException) -> None:
        self._fatal_error = " ".join(reason(error).split())
        client_logger.error("Kafka: the producer needs a new client: %s", self._fatal_error)
