"""Finds topics that were deleted and created again, by the id that Kafka gives each topic.

An offset of the former topic can be valid in the new one: reading would continue there and skip the records before it.
With KIP-848 the group assigns the new topic's partitions anew, but such an offset may be committed until then.
"""

import logging
from collections.abc import Collection
from concurrent.futures import Future

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from streams.settings import Settings
from streams.transport.kafka.client import client_config, client_logger

logger = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
"""How often the ids are requested."""
FORGET_SECONDS = 60.0
"""How long the id of a topic is kept that this consumer no longer reads. A rebalance may soon bring it back."""
DESCRIBE_SECONDS = 2.0
"""How long a request for ids may take. While the broker that is asked is down, two threads of librdkafka wake each
other until then: 180,000 times a second (measured with librdkafka 2.16)."""
METADATA_SECONDS = 0.5
"""How long the client may take to learn which brokers run."""
SILENCE_SECONDS = 60.0
"""After this long without an answer a warning is logged, once: no topic that is created again is noticed then."""


class TopicIds:
    """The ids of the topics that one consumer reads.

    Its calls do not wait for the brokers, except after a request that no broker has answered: the next one waits up to
    METADATA_SECONDS. The client asks the controller of its last metadata, and would ask a broker that is down for ever.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin: AdminClient | None = None
        self._known: dict[str, str] = {}
        self._read_at: dict[str, float] = {}
        self._requested: dict[str, Future[TopicDescription]] = {}
        self._check_at = 0.0
        self._no_answer = False
        """Whether no broker has answered the last request."""
        self._silent_since: float | None = None
        """When a request was not answered for the first time since the last answer."""
        self._has_warned = False

    def changed(self, now: float, topics: Collection[str]) -> list[str]:
        """Return the topics with another id than before. Requests the ids at once for new topics, then now and then.

        Args:
            now: Seconds of a monotonic clock.
            topics: The topics that are read now. The ids of others are forgotten after FORGET_SECONDS.
        """
        if self._admin is not None:
            self._admin.poll(0)  # librdkafka keeps its log lines and errors in memory until the client is polled
        self._read_at |= dict.fromkeys(topics, now)
        for topic in [topic for topic, at in self._read_at.items() if now - at > FORGET_SECONDS]:
            del self._read_at[topic]
            self._known.pop(topic, None)
        changed = []
        for topic in [topic for topic, answer in self._requested.items() if answer.done()]:
            found = self._id_of(self._requested.pop(topic), now)
            if found is None or topic not in topics:
                continue
            if self._known.setdefault(topic, found) != found:
                self._known[topic] = found
                changed.append(topic)
        some_unknown = not self._known.keys() >= set(topics)
        is_due = now >= self._check_at or (some_unknown and not self._no_answer)
        if is_due and topics and not self._requested:
            self._check_at = now + CHECK_SECONDS
            self._request(topics, now)
        return changed

    def _request(self, topics: Collection[str], now: float) -> None:
        if self._admin is None:
            self._admin = AdminClient(client_config(self._settings), logger=client_logger)
        try:
            if self._no_answer:
                self._admin.list_topics(timeout=METADATA_SECONDS)
                self._no_answer = False
            self._requested = self._admin.describe_topics(
                TopicCollection(list(topics)), request_timeout=DESCRIBE_SECONDS
            )
        except KafkaException as error:
            self._note_silence(error, now)

    def _id_of(self, answer: "Future[TopicDescription]", now: float) -> str | None:
        """Return the id of a topic. None: Kafka did not answer, or the topic does not exist now."""
        found = None
        try:
            found = str(answer.result().topic_id)
        except KafkaException as error:
            if error.args[0].code() < 0:  # librdkafka's own codes are negative
                self._no_answer = True
                self._note_silence(error, now)
                return None
        self._silent_since, self._has_warned = None, False
        return found

    def _note_silence(self, error: KafkaException, now: float) -> None:
        """Log a warning once no broker has answered for SILENCE_SECONDS."""
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since < SILENCE_SECONDS or self._has_warned:
            logger.debug("the ids of topics are unknown: %s", error)
            return
        self._has_warned = True
        logger.warning(
            "no broker has answered a request for the ids of topics for %.0f s (%s); until one does, "
            "a topic that is deleted and created again is not noticed",
            now - self._silent_since,
            error.args[0].str(),
        )
