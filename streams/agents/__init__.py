"""What is done for each event: one module per family holds the handlers. Here, topics get their Faust agents.

There is one agent per topic and one per retry tier. An agent passes each chunk to the delivery engine of its pool and
takes the next one. The engine settles the records one by one; the transport pauses a partition that has too many
unsettled records.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

from streams.delivery.engine import PoolEngine
from streams.durations import format_duration
from streams.settings import PoolName
from streams.topics import Catalogue
from streams.transport.kafka.records import Chunk

Engines = Callable[[], Mapping[PoolName, PoolEngine]]
"""Returns the engines by pool, which exist once a worker runs."""
Accept = Callable[[Chunk], None]
"""Takes a chunk over."""
Declare = Callable[[str, Callable[[], Accept], str], None]
"""Declares an agent: its topic, what returns the function that takes its chunks, its description."""


def declare_agents(
    declare: Declare, catalogue: Catalogue, read: Collection[str], pools: tuple[PoolName, ...], engines: Engines
) -> None:
    """Declare the agents of the hosted pools.

    Args:
        declare: Declares one agent.
        catalogue: All topics and retry tiers.
        read: The names of the event topics to consume. Retry tiers are always consumed.
        pools: The pools that this worker hosts.
        engines: Called when the first chunk of a topic comes.
    """
    for topic in catalogue:
        if topic.pool in pools and topic.name in read:
            description = f"{topic.event.__name__} events, pool {topic.pool}"
            declare(topic.name, partial(_accept_events, engines, topic.pool), description)
    for pool in pools:
        declare_tier_agents(declare, pool, catalogue.tiers(pool), engines)


def declare_tier_agents(declare: Declare, pool: PoolName, tiers: Mapping[str, float], engines: Engines) -> None:
    """Declare the agents of retry tiers.

    Args:
        declare: Declares one agent.
        pool: The pool of the tiers.
        tiers: Topic → delay in seconds.
        engines: Called when the first chunk of a tier comes.
    """
    for tier, delay in tiers.items():
        description = f"retries of pool {pool}, {format_duration(delay)} late"
        declare(tier, partial(_accept_retries, engines, pool, delay), description)


def _accept_events(engines: Engines, pool: PoolName) -> Accept:
    return engines()[pool].accept


def _accept_retries(engines: Engines, pool: PoolName, delay: float) -> Accept:
    return partial(engines()[pool].accept_tier, delay=delay)
