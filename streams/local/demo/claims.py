"""What the demo claims has to be seen; what does not come within its time is a claim that does not hold."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL = 0.1


class ClaimError(Exception):
    """Something that the demo claims did not happen; the message is one line that says what."""


def claim(*, holds: bool, otherwise: str) -> None:
    """Raise ClaimError with what is the case instead, unless it holds."""
    if not holds:
        raise ClaimError(otherwise)


def wait_for(seen: Callable[[], T | None], what: str, *, seconds: float, alive: Callable[[], None]) -> T:
    """The first value that is not None. Raises ClaimError after so many seconds, or what `alive` raises meanwhile."""
    until = time.monotonic() + seconds
    while True:
        value = seen()
        if value is not None:
            return value
        alive()
        claim(holds=time.monotonic() < until, otherwise=f"{what} did not come within {seconds:.0f} s")
        time.sleep(POLL)
