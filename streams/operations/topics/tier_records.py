"""Deletes what the pools have settled from their retry tiers, which have no retention."""

from confluent_kafka import TopicPartition

from streams.observability.logs import get_logger
from streams.operations.kafka_admin import KafkaAdmin, KafkaRefusedError
from streams.operations.lag import group_lag
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue

log = get_logger(__name__)


def delete_settled_retries(settings: Settings, catalogue: Catalogue) -> int:
    """Delete the records of retry tiers below the committed offset of their pool.

    Every record below it is settled: its delivery has ended, or a later record carries it on. A partition whose offsets
    cannot be read is left alone. Several workers may do this at the same time. It makes several requests: call it from
    a thread.

    Returns:
        The number of partitions whose settled records were deleted, now or earlier.

    Raises:
        BrokersUnreachableError: No broker answers.
        KafkaRefusedError: No offsets can be read.
    """
    reading = group_lag(settings, catalogue)
    prefixes = tuple(catalogue.tier_prefix(pool) for pool in POOL_NAMES)
    settled = [
        TopicPartition(lag.topic, lag.partition, lag.current_offset)
        for lag in reading.lags
        # An offset after the end is of a topic that was created again: its records are not settled.
        if lag.topic.startswith(prefixes) and 0 < lag.current_offset <= lag.end_offset
    ]
    if reading.unknown:
        count, error = len(reading.unknown), str(reading.unknown[0].error)
        log.warning("settled retry records of some partitions stay", partitions=count, error=error)
    if not settled:
        return 0
    cluster = KafkaAdmin(settings)
    deleted = 0
    for partition, answer in cluster.admin.delete_records(settled, request_timeout=cluster.timeout).items():
        try:
            cluster.answer(answer, f"delete settled records of {partition.topic}[{partition.partition}]")
            deleted += 1
        except KafkaRefusedError as error:  # such as a missing right (ACL DELETE): the other partitions continue
            log.warning("settled retry records are not deleted", error=str(error))
    return deleted
