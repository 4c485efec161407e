"""What is done for each event: one file a family holds the handlers; here are the Faust agents that feed them.

One agent a topic and one a retry tier. An agent hands each chunk to its pool's engine and takes the next: the engine
acknowledges the records one by one, and the transport holds a partition back that has too many unsettled.
"""

from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Mapping

from streams.delivery.engine import PoolEngine
from streams.durations import format_duration
from streams.settings import PoolName
from streams.topics import Catalogue
from streams.transport.kafka.records import Chunk

Agent = Callable[[AsyncIterable[Chunk]], Awaitable[None]]
Engines = Callable[[], Mapping[PoolName, PoolEngine]]


Declare = Callable[[str, Agent, str], None]
"""Makes a Faust agent: topic, function, description."""


def declare_agents(
    declare: Declare, catalogue: Catalogue, read: Collection[str], pools: tuple[PoolName, ...], engines: Engines
) -> None:
    """Declare the agents of the hosted pools: of the topics in `read`, and of every tier.

    `engines` is asked when chunks come: they exist once a worker runs.
    """
    for topic in catalogue:
        if topic.pool in pools and topic.name in read:
            declare(topic.name, _event_agent(engines, topic.pool), f"{topic.event.__name__} events, pool {topic.pool}")
    for pool in pools:
        declare_tier_agents(declare, pool, catalogue.tiers(pool), engines)


def declare_tier_agents(declare: Declare, pool: PoolName, tiers: Mapping[str, float], engines: Engines) -> None:
    """Declare the agents of retry tiers; `tiers`: topic → delay in seconds."""
    for tier, delay in tiers.items():
        declare(tier, _tier_agent(engines, pool, delay), f"retries of pool {pool}, {format_duration(delay)} late")


def _event_agent(engines: Engines, pool: PoolName) -> Agent:
    async def consume(chunks: AsyncIterable[Chunk]) -> None:
        async for chunk in chunks:
            engines()[pool].accept(chunk)

    return consume


def _tier_agent(engines: Engines, pool: PoolName, delay: float) -> Agent:
    async def consume(chunks: AsyncIterable[Chunk]) -> None:
        async for chunk in chunks:
            engines()[pool].accept_tier(chunk, delay)

    return consume
