"""The topics, handlers and pools of a deployment, with its extensions and overrides. Loads no Faust."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from schemas import Event
from streams.delivery.handler import Handler
from streams.runtime.overrides import apply_to_handlers, apply_to_pools, apply_to_topics, load_overrides
from streams.settings import POOL_NAMES, PoolName, Settings, SettingsError
from streams.topics import POOLS, Catalogue, Pool, import_package, load_topics
from streams.transport.kafka.group import Group


def build_catalogue(settings: Settings) -> Catalogue:
    """Build the catalogue of built-in topics and those of STREAMS_HANDLERS, with overrides. Raises SettingsError."""
    return Catalogue(apply_to_topics(load_topics(settings), load_overrides(settings.overrides)), settings)


def build_handlers(settings: Settings) -> tuple[Handler[Event], ...]:
    """Return the built-in handlers and those of STREAMS_HANDLERS, with overrides. Raises SettingsError."""
    # The libraries of the handlers (vectors, documents) take longer to import than most commands take to run.
    from streams.agents.built_in import HANDLERS  # noqa: PLC0415

    found = list(HANDLERS)
    for package in settings.handlers:
        found.extend(getattr(import_package(package), "HANDLERS", ()))
    names = [handler.name for handler in found]
    if twice := {name for name in names if names.count(name) > 1}:
        message = f"STREAMS_HANDLERS: two handlers are named {', '.join(sorted(twice))}"
        raise SettingsError(message)
    return tuple(apply_to_handlers(found, load_overrides(settings.overrides)))


def build_pools(settings: Settings) -> tuple[Pool, ...]:
    """Return the pools that the workers of this deployment host, most urgent first."""
    in_force = apply_to_pools(POOLS, load_overrides(settings.overrides))
    return tuple(pool for pool in in_force if pool.name in settings.pools)


def declaration_problems(catalogue: Catalogue, handlers: Iterable[Handler[Event]]) -> list[str]:
    """Return why a worker must not start with these topics and handlers, one line each.

    Each topic is in one pool, each event class is on one topic, and each handler's event class has a topic. A topic
    without a handler is no problem: it is an extension point.
    """
    problems = []
    topic_of: dict[type[Event], str] = {}
    names: set[str] = set()
    for topic in catalogue.declared:
        event = topic.event.__name__
        if topic.pool not in POOL_NAMES:
            problems.append(f"topic {topic.name} is in the pool {topic.pool!r}; there are: {', '.join(POOL_NAMES)}")
        if topic.name in names:
            problems.append(f"topic {topic.name} is declared twice: remove one declaration")
        elif (other := topic_of.get(topic.event)) is not None:
            problems.append(f"the events of {event} have two topics, {other} and {topic.name}: remove one of them")
        topic_of.setdefault(topic.event, topic.name)
        names.add(topic.name)
    problems += [
        f"handler {handler.name}: its event class {handler.event.__name__} has no topic; add one to TOPICS of a "
        "package in STREAMS_HANDLERS"
        for handler in handlers
        if handler.event not in topic_of
    ]
    return problems


def topics_to_read(catalogue: Catalogue, handlers: Iterable[Handler[Event]]) -> frozenset[str]:
    """Return the names of the topics that have a handler in this deployment.

    The others are not consumed: consuming a topic without a handler would commit its offsets with no work done. Its
    events wait in the topic, for as long as the topic retains them, until a worker has a handler.
    """
    handled = {handler.event for handler in handlers}
    return frozenset(topic.name for topic in catalogue if topic.event in handled)


def handlers_by_topic(
    catalogue: Catalogue, handlers: Sequence[Handler[Event]]
) -> dict[str, tuple[Handler[Event], ...]]:
    """Return the handlers of each topic, in the order in which they are declared."""
    return {topic.name: tuple(handler for handler in handlers if handler.event is topic.event) for topic in catalogue}


def build_groups(
    catalogue: Catalogue,
    read: Collection[str],
    pools: Sequence[Pool],
    former: Mapping[PoolName, Iterable[str]] | None = None,
) -> tuple[Group, ...]:
    """Build the consumer group of each pool.

    Args:
        catalogue: The topics and retry tiers.
        read: The event topics to consume; see `topics_to_read`.
        pools: The pools that this process hosts.
        former: Pool → retry tiers of former settings, which are consumed too.
    """
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
