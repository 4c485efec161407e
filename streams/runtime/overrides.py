"""What an operator changes without a release: the TOML file that STREAMS_OVERRIDES names.

    [handlers.index-document]
    soft_time_limit = "20m"
    time_limit = "25m"
    concurrency = 2
    retry = { first = "1m", attempts = 3 }

    [topics."document.deleted"]
    pool = "default"
    partitions = 8

    [pools.high]
    concurrency = 32
    prefetch = 8000
    connections = 20

What the file leaves out stays as declared. A name or field that does not exist is refused, or a typo would go unseen.
"""

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from schemas import Event
from streams.delivery import Backoff, Handler
from streams.durations import Seconds, parse_duration
from streams.settings import PoolName, SettingsError
from streams.topics import Pool, Topic

VARIABLE = "STREAMS_OVERRIDES"


class OverridesError(SettingsError):
    """The overrides cannot be used; the message is one line that names the file or the place in it."""


def _duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Limit = Annotated[Seconds, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryOverride(_Section):
    """Fields of `Backoff`."""

    first: Duration | None = None
    factor: float | None = Field(None, ge=1)
    attempts: int | None = Field(None, ge=1)
    limit: Duration | None = None
    jitter: float | None = Field(None, ge=0, le=1)

    def over(self, declared: Backoff) -> Backoff:
        """The retry plan in force."""
        return Backoff(
            first=self.first or declared.first,
            factor=self.factor or declared.factor,
            attempts=self.attempts or declared.attempts,
            limit=self.limit or declared.limit,
            jitter=declared.jitter if self.jitter is None else self.jitter,
        )


class HandlerOverride(_Section):
    """What may be changed of a handler."""

    retry: RetryOverride | None = None
    soft_time_limit: Limit | None = None
    time_limit: Limit | None = None
    concurrency: int | None = Field(None, ge=1)
    """Runs of this handler at once in one worker process; the pool's number stays the upper bound."""


class TopicOverride(_Section):
    """What may be changed of a topic."""

    pool: PoolName | None = None
    partitions: int | None = Field(None, ge=1)


class PoolOverride(_Section):
    """What may be changed of a pool; see `streams.topics.Pool`."""

    concurrency: int | None = Field(None, ge=1)
    prefetch: int | None = Field(None, ge=8)
    connections: int | None = Field(None, ge=1)


class Overrides(_Section):
    """The whole file: handlers by their name, topics by theirs (without the prefix), pools by theirs."""

    handlers: dict[str, HandlerOverride] = Field(default_factory=dict)
    topics: dict[str, TopicOverride] = Field(default_factory=dict)
    pools: dict[PoolName, PoolOverride] = Field(default_factory=dict)


def load_overrides(path: Path | None) -> Overrides:
    """The overrides in a file; none where no file is named. Raises OverridesError."""
    if path is None:
        return Overrides()
    try:
        return Overrides.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        message = f"{VARIABLE}: {path}: {error.strerror}"
        raise OverridesError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{VARIABLE}: {path} is not TOML: {error}"
        raise OverridesError(message) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        what = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"]
        message = f"{VARIABLE}: {path}: {place}: {what}"
        raise OverridesError(message) from error


def apply_to_handlers(handlers: Iterable[Handler[Event]], overrides: Overrides) -> list[Handler[Event]]:
    """The handlers as they are in force. Raises OverridesError for an unknown name, a soft limit over the hard one."""
    declared = list(handlers)
    _refuse_unknown("handler", overrides.handlers, (handler.name for handler in declared))
    return [
        _overridden(handler, overrides.handlers[handler.name]) if handler.name in overrides.handlers else handler
        for handler in declared
    ]


def apply_to_topics(topics: Iterable[Topic], overrides: Overrides) -> list[Topic]:
    """The topics as they are in force, for the catalogue. Raises OverridesError for an unknown name."""
    declared = list(topics)
    _refuse_unknown("topic", overrides.topics, (topic.name for topic in declared))
    in_force = []
    for topic in declared:
        override = overrides.topics.get(topic.name, TopicOverride())
        in_force.append(
            replace(topic, pool=override.pool or topic.pool, partitions=override.partitions or topic.partitions)
        )
    return in_force


def apply_to_pools(pools: Iterable[Pool], overrides: Overrides) -> list[Pool]:
    """The pools as they are in force."""
    in_force = []
    for pool in pools:
        override = overrides.pools.get(pool.name, PoolOverride())
        in_force.append(
            replace(
                pool,
                concurrency=override.concurrency or pool.concurrency,
                prefetch=override.prefetch or pool.prefetch,
                connections=override.connections or pool.connections,
            )
        )
    return in_force


def concurrency_limits(overrides: Overrides) -> dict[str, int]:
    """Handler name → how many of its runs one worker process may have at once; handlers without a limit are absent."""
    return {
        name: override.concurrency for name, override in overrides.handlers.items() if override.concurrency is not None
    }


def _overridden(handler: Handler[Event], override: HandlerOverride) -> Handler[Event]:
    changed = replace(
        handler,
        retry=handler.retry if override.retry is None else override.retry.over(handler.retry),
        soft_time_limit=override.soft_time_limit or handler.soft_time_limit,
        time_limit=override.time_limit or handler.time_limit,
    )
    if changed.soft_time_limit > changed.time_limit:
        message = (
            f"{VARIABLE}: handlers.{handler.name}: the soft time limit ({changed.soft_time_limit:g} s) is over the "
            f"hard one ({changed.time_limit:g} s)"
        )
        raise OverridesError(message)
    return changed


def _refuse_unknown(what: str, named: Iterable[str], known: Iterable[str]) -> None:
    names = sorted(known)
    for name in named:
        if name not in names:
            message = f"{VARIABLE}: no {what} {name!r}; there are: {', '.join(names)}"
            raise OverridesError(message)
