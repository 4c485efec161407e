"""Overrides: what operators change without a release, in the TOML file that STREAMS_OVERRIDES names.

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

Fields that the file does not have stay as declared. Unknown names and fields are rejected, so that a typo is noticed.
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
from streams.name_errors import unknown_name
from streams.settings import PoolName, SettingsError
from streams.topics import Pool, Topic

VARIABLE = "STREAMS_OVERRIDES"


class OverridesError(SettingsError):
    """The overrides are invalid. The message is one line that names the file, and the field in it."""


def _duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
Limit = Annotated[Seconds, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetryOverride(_Section):
    """Overrides of a retry policy: the fields of `Backoff`."""

    first: Duration | None = None
    factor: float | None = Field(None, ge=1)
    attempts: int | None = Field(None, ge=1)
    limit: Duration | None = None
    jitter: float | None = Field(None, ge=0, le=1)

    def apply_to(self, declared: Backoff) -> Backoff:
        """Return the declared retry policy with these overrides."""
        return Backoff(
            first=self.first or declared.first,
            factor=self.factor or declared.factor,
            attempts=self.attempts or declared.attempts,
            limit=self.limit or declared.limit,
            jitter=declared.jitter if self.jitter is None else self.jitter,
        )


class HandlerOverride(_Section):
    """Overrides of a handler."""

    retry: RetryOverride | None = None
    soft_time_limit: Limit | None = None
    time_limit: Limit | None = None
    concurrency: int | None = Field(None, ge=1)
    """Concurrent runs of this handler in one worker process; the concurrency of the pool is the upper limit."""


class TopicOverride(_Section):
    """Overrides of a topic."""

    pool: PoolName | None = None
    partitions: int | None = Field(None, ge=1)


class PoolOverride(_Section):
    """Overrides of a pool; see `streams.topics.Pool`."""

    concurrency: int | None = Field(None, ge=1)
    prefetch: int | None = Field(None, ge=8)
    connections: int | None = Field(None, ge=1)


class Overrides(_Section):
    """The whole file: handlers, topics and pools by name. Topic names are without the prefix."""

    handlers: dict[str, HandlerOverride] = Field(default_factory=dict)
    topics: dict[str, TopicOverride] = Field(default_factory=dict)
    pools: dict[PoolName, PoolOverride] = Field(default_factory=dict)


def load_overrides(path: Path | None) -> Overrides:
    """Load the overrides from a file; None: there are none. Raises OverridesError."""
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
    """Return the handlers with their overrides.

    Raises OverridesError for an unknown name, or a soft time limit above the hard one.
    """
    declared = list(handlers)
    _reject_unknown("handler", overrides.handlers, (handler.name for handler in declared))
    return [
        _overridden(handler, overrides.handlers[handler.name]) if handler.name in overrides.handlers else handler
        for handler in declared
    ]


def apply_to_topics(topics: Iterable[Topic], overrides: Overrides) -> list[Topic]:
    """Return the topics with their overrides, for the catalogue. Raises OverridesError for an unknown name."""
    declared = list(topics)
    _reject_unknown("topic", overrides.topics, (topic.name for topic in declared))
    in_force = []
    for topic in declared:
        override = overrides.topics.get(topic.name, TopicOverride())
        in_force.append(
            replace(topic, pool=override.pool or topic.pool, partitions=override.partitions or topic.partitions)
        )
    return in_force


def apply_to_pools(pools: Iterable[Pool], overrides: Overrides) -> list[Pool]:
    """Return the pools with their overrides."""
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
    """Return handler name → its concurrent runs in one worker process, for handlers with a limit."""
    return {
        name: override.concurrency for name, override in overrides.handlers.items() if override.concurrency is not None
    }


def _overridden(handler: Handler[Event], override: HandlerOverride) -> Handler[Event]:
    changed = replace(
        handler,
        retry=handler.retry if override.retry is None else override.retry.apply_to(handler.retry),
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


def _reject_unknown(what: str, named: Iterable[str], known: Iterable[str]) -> None:
    names = sorted(known)
    for name in named:
        if name not in names:
            message = f"{VARIABLE}: {unknown_name(what, name, names)}"
            raise OverridesError(message)
