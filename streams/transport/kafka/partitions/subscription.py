"""The subscription of one group: all its topics, without those that this client may not see.

With KIP-848 the coordinator refuses a member that subscribes to one topic whose description it may not have. So such
topics are left out, and asked for again.
"""

import logging
from collections.abc import Callable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.transport.kafka.client import reason
from streams.transport.kafka.group import Group
from streams.transport.kafka.partitions.faults import TopicFaults

logger = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
"""How often topics that cannot be read are tried again."""
REQUEST_SECONDS = 2.0

Callback = Callable[[Consumer, list[TopicPartition]], None]
NOT_VISIBLE = "it does not exist, or this client may not describe it (ACL DESCRIBE)"


class Subscription:
    """The topics that one consumer subscribes to. Only the poll thread calls it."""

    def __init__(self, group: Group, faults: TopicFaults, callbacks: Mapping[str, Callback]) -> None:
        """Create the subscription.

        Args:
            group: The group and its topics.
            faults: Gets the topics that are left out.
            callbacks: librdkafka's callbacks of a rebalance, by the names that `subscribe` gives them.
        """
        self._group = group
        self._faults = faults
        self._callbacks = callbacks
        self._topics: tuple[str, ...] = ()
        self._check_at = 0.0

    def start(self, consumer: Consumer) -> None:
        """Subscribe to all topics of the group."""
        self._subscribe(consumer, self._group.topics)

    def leave_out_hidden(self, consumer: Consumer) -> None:
        """Subscribe without the topics that this client cannot see: the group was refused because of one of them."""
        visible = self._visible(consumer)
        if visible is None:
            return
        for topic in self._group.topics:
            if topic not in visible:
                self._faults.begin(topic, None, NOT_VISIBLE)
            else:
                self._faults.end(topic)
        if visible:
            self._subscribe(consumer, visible)

    def refresh(self, consumer: Consumer, now: float) -> bool:
        """Ask again for topics with a fault. Returns True if it is time to try the partitions with a fault, too."""
        if not self._faults or now < self._check_at:
            return False
        self._check_at = now + CHECK_SECONDS
        if self._faults.topics():
            self.leave_out_hidden(consumer)
        return True

    def _visible(self, consumer: Consumer) -> tuple[str, ...] | None:
        try:
            found = consumer.list_topics(timeout=REQUEST_SECONDS).topics
        except KafkaException as error:
            logger.debug("the topics of the cluster are unknown: %s", reason(error))
            return None
        return tuple(topic for topic in self._group.topics if topic in found and found[topic].error is None)

    def _subscribe(self, consumer: Consumer, topics: tuple[str, ...]) -> None:
        if topics != self._topics:
            self._topics = topics
            consumer.subscribe(list(topics), **self._callbacks)
