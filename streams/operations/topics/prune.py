"""Retry tiers that no setting names any more: removed once nothing waits in them."""

from dataclasses import dataclass

from streams.operations.kafka_admin import KafkaAdmin
from streams.operations.lag import group_lag
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue


@dataclass(frozen=True, slots=True)
class Pruned:
    """Names of former tiers: those that are gone now, and those in which records wait."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]


def prune_tiers(settings: Settings, catalogue: Catalogue) -> Pruned:
    """Remove the empty ones. Every record of such a tier has to be settled by the pool's group, not only read.

    Deploy the new settings to every worker before: one with the former settings would still hand records to the tier.
    Raises BrokersUnreachableError, KafkaRefusedError.
    """
    cluster = KafkaAdmin(settings)
    existing = cluster.metadata().topics
    former = [tier for pool in POOL_NAMES for tier in catalogue.former_tiers(pool, existing)]
    waiting = {lag.topic for lag in group_lag(settings, catalogue) if lag.lag} if former else set()
    empty = [tier for tier in former if tier not in waiting]
    if empty:
        futures = cluster.admin.delete_topics(empty, request_timeout=cluster.timeout)
        for _ in cluster.answers(futures, "remove"):
            pass
    return Pruned(tuple(empty), tuple(tier for tier in former if tier in waiting))
