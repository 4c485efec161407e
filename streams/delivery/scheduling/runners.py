"""The functions that the scheduler of a pool calls to run and to settle deliveries."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from streams.delivery.delivery import Delivery
from streams.delivery.handler import Kind

Run = Callable[[Sequence[Delivery]], Awaitable[Sequence[Delivery] | None]]
"""Runs deliveries of a unit until they are settled.

It returns those that are not settled because the database failed. They are checked and run again.
"""


@dataclass(frozen=True, slots=True)
class Runners:
    """The functions that the scheduler calls with deliveries."""

    run: Mapping[Kind, Run]
    """By the kind of the handler."""
    expired: Callable[[Sequence[Delivery]], Awaitable[None]]
    """Dead-letters deliveries whose events have expired."""
    defer: Callable[[Sequence[Delivery], str], None]
    """Moves blocked deliveries to a retry tier in the background. The text says what blocks them."""
    killed: Callable[[Delivery, int], Awaitable[None]]
    """Dead-letters a delivery that crashed its process in each run, and in this many tries to dead-letter it."""
    broken: Callable[[Sequence[Delivery], BaseException], Awaitable[None]]
    """Dead-letters deliveries for which the engine itself failed."""
    ended: Callable[[Sequence[Delivery]], None]
    """Called when a unit has ended."""
    hop: Callable[[Delivery, float], None]
    """Moves a retry that is not due to the tier of a delay (seconds)."""
