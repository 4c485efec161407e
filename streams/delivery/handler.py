"""Declares handlers: event class, kind, retry policy, time limits."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from schemas import Event
from streams.delivery.work import Work
from streams.durations import format_duration, parse_duration

Kind = Literal["single", "batch", "long"]
E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)
JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]
"""What a handler may return. It is stored as the result of the execution."""
SingleFunction = Callable[[E, Work], Awaitable[JSON]]
BatchFunction = Callable[[Sequence[E], Work], Awaitable[JSON]]
FailureFunction = Callable[[E, Work, BaseException], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Backoff:
    """A retry policy: the first delay is `first`, each next one `factor` times longer, at most `limit`.

    There are up to `attempts` runs. Durations are texts such as "10s". `jitter` is the fraction by which a delay may
    become longer.
    """

    first: str = "10s"
    factor: float = 6.0
    attempts: int = 6
    limit: str = "1h"
    jitter: float = 0.1

    def delay(self, attempt: int, spread: float = 0.0) -> float | None:
        """Return the seconds to wait after a failed run; None: it was the last.

        Args:
            attempt: The number of the failed run; 1 is the first.
            spread: A random number in [0, 1) from the caller: the part of the jitter to add.
        """
        if attempt >= self.attempts:
            return None
        try:
            grown = parse_duration(self.first) * self.factor ** (attempt - 1)
        except OverflowError:
            grown = float("inf")
        return min(grown, parse_duration(self.limit)) * (1.0 + self.jitter * spread)

    def __str__(self) -> str:
        first, limit = format_duration(parse_duration(self.first)), format_duration(parse_duration(self.limit))
        return f"{self.attempts} attempts, {first} times {self.factor:g} up to {limit}"


@dataclass(frozen=True, slots=True, eq=False)
class Handler(Generic[E_co]):
    """Work for one class of events. `name` is unique and is part of records, so it must never change.

    The type is covariant: the engine calls a handler only with events of its class `event`.
    """

    name: str
    event: type[E_co]
    function: Callable[..., Awaitable[JSON]]
    kind: Kind = "single"
    retry: Backoff = field(default_factory=Backoff)
    soft_time_limit: float = 30.0
    """Seconds after which the handler is cancelled; it may clean up until `time_limit`."""
    time_limit: float = 60.0
    """Seconds after which the handler is no longer awaited."""
    batch_size: int = 500
    """Maximum number of events in one call of a batch handler."""
    ledger: bool = True
    """False: a success writes no row, so the effect may happen more than once and must be idempotent."""
    resource: Callable[[E_co], str] | None = None
    """Long handlers: the name of the resource that the lease is for, such as ``document:<id>``."""
    fatal: tuple[type[BaseException], ...] = (MemoryError,)
    """Exceptions that are never retried."""
    needs: tuple[str, ...] = ()
    """Dependencies that the handler needs. While the breaker of one is open, its deliveries wait."""
    on_dead: FailureFunction[E_co] | None = None
    """Called in the settling transaction before the delivery is dead-lettered, to roll back a business status."""
    on_soft_limit: FailureFunction[E_co] | None = None
    """Called with a fresh session after the soft limit has cancelled the handler."""


def handles(  # noqa: PLR0913 - one keyword per policy; all but the event have defaults
    event: type[E],
    *,
    kind: Kind = "single",
    name: str | None = None,
    retry: Backoff | None = None,
    soft_time_limit: str = "30s",
    time_limit: str = "60s",
    batch_size: int = 500,
    ledger: bool = True,
    resource: Callable[[E], str] | None = None,
    fatal: tuple[type[BaseException], ...] = (MemoryError,),
    needs: str | Iterable[str] = (),
    on_dead: FailureFunction[E] | None = None,
    on_soft_limit: FailureFunction[E] | None = None,
) -> Callable[[Callable[..., Awaitable[JSON]]], Handler[E]]:
    """Declare an async function as a handler of an event class.

    single: `async def f(event, work)`, one transaction around the function and its ledger row.
    batch:  `async def f(events, work)`, a list in offset order in one transaction; a failing list is halved.
    long:   `async def f(event, work)`, no open transaction; `async with work.step() as session:` for each step.

    Arguments are the fields of `Handler`; durations are texts such as "30s". The default `name` is the name of the
    function with hyphens.

    Raises:
        TypeError: A long handler has no `resource`.
    """

    def declare(function: Callable[..., Awaitable[JSON]]) -> Handler[E]:
        if kind == "long" and resource is None:
            message = f"long handler {function.__name__} needs a resource: @handles(..., kind='long', resource=...)"
            raise TypeError(message)
        return Handler(
            name=name or function.__name__.replace("_", "-"),
            event=event,
            function=function,
            kind=kind,
            retry=retry or Backoff(),
            soft_time_limit=parse_duration(soft_time_limit),
            time_limit=parse_duration(time_limit),
            batch_size=batch_size,
            ledger=ledger,
            resource=resource,
            fatal=fatal,
            needs=(needs,) if isinstance(needs, str) else tuple(needs),
            on_dead=on_dead,
            on_soft_limit=on_soft_limit,
        )

    return declare
