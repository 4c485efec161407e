"""What a deployment declares: its topics, handlers and pools, extensions and overrides included. Loads no Faust."""

import importlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from schemas import Event
from streams.delivery.handler import Handler
from streams.runtime.overrides import apply_to_handlers, apply_to_pools, apply_to_topics, load_overrides
from streams.settings import PoolName, Settings, SettingsError
from streams.topics import POOLS, Catalogue, Pool, load_topics
from streams.transport.kafka.group import Group


def build_catalogue(settings: Settings) -> Catalogue:
    """The topics in force: built in, of STREAMS_HANDLERS, overridden. Raises SettingsError."""
    return Catalogue(apply_to_topics(load_topics(settings), load_overrides(settings.overrides)), settings)


def build_handlers(settings: Settings) -> tuple[Handler[Event], ...]:
    """The handlers in force: built in, the `HANDLERS` of STREAMS_HANDLERS, overridden. Raises SettingsError."""
    # What handlers work with (vectors, documents, mail) takes longer to load than most commands take to answer.
    from streams.agents.built_in import HANDLERS  # noqa: PLC0415

    found = list(HANDLERS)
    for package in settings.handlers:
        found.extend(getattr(importlib.import_module(package), "HANDLERS", ()))
    names = [handler.name for handler in found]
    if twice := {name for name in names if names.count(name) > 1}:
        message = f"STREAMS_HANDLERS: two handlers are named {', '.join(sorted(twice))}"
        raise SettingsError(message)
    return tuple(apply_to_handlers(found, load_overrides(settings.overrides)))


def build_pools(settings: Settings) -> tuple[Pool, ...]:
    """The pools that this deployment's workers host, most urgent first."""
    in_force = apply_to_pools(POOLS, load_overrides(settings.overrides))
    return tuple(pool for pool in in_force if pool.name in settings.pools)


def topics_to_read(catalogue: Catalogue, handlers: Iterable[Handler[Event]]) -> frozenset[str]:
    """The names of the topics that have a handler here.

    No other is read: reading its events would acknowledge them with nothing done. So they wait in their topic, as long
    as it keeps them, for the version of the workers that has a handler.
    """
    handled = {handler.event for handler in handlers}
    return frozenset(topic.name for topic in catalogue if topic.event in handled)


def build_groups(
    catalogue: Catalogue,
    read: Collection[str],
    pools: Sequence[Pool],
    former: Mapping[PoolName, Iterable[str]] | None = None,
) -> tuple[Group, ...]:
    """What each pool's consumer reads: its event topics among `read`, its retry tiers, those of former settings too."""
    return tuple(
        Group(
            pool=pool.name,
            group_id=catalogue.group(pool.name),
            topics=(
                *(topic.name for topic in catalogue.in_pool(pool.name) if topic.name in read),
                *catalogue.tiers(pool.name),
                *(former or {}).get(pool.name, ()),
            ),
            high=pool.prefetch,
            low=pool.prefetch // 2,
        )
        for pool in pools
    )
