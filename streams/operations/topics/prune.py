"""Deletes retry tiers of former delays once they are empty."""

from dataclasses import dataclass

from streams.operations.kafka_admin import KafkaAdmin
from streams.operations.lag import LagReading, group_lag
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue


@dataclass(frozen=True, slots=True)
class Pruned:
    """The names of former tiers: those that were deleted, and those that have, or may have, records."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]


def prune_tiers(settings: Settings, catalogue: Catalogue) -> Pruned:
    """Delete former tiers in which the pool's group has settled every record, as far as that is known.

    First deploy the new settings to all workers: a worker with the former settings would still send records to the
    tier. Raises BrokersUnreachableError, KafkaRefusedError.
    """
    cluster = KafkaAdmin(settings)
    existing = cluster.metadata().topics
    former = [tier for pool in POOL_NAMES for tier in catalogue.former_tiers(pool, existing)]
    reading = group_lag(settings, catalogue) if former else LagReading([])
    read = {lag.topic for lag in reading.lags}
    not_settled = {*(lag.topic for lag in reading.lags if lag.lag), *(one.topic for one in reading.unknown)}
    empty = [tier for tier in former if tier in read - not_settled]
    if empty:
        futures = cluster.admin.delete_topics(empty, request_timeout=cluster.timeout)
        for _ in cluster.answers(futures, "remove"):
            pass
    return Pruned(tuple(empty), tuple(tier for tier in former if tier not in empty))
