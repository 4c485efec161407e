"""Verifies the statements of the demo. A result that does not arrive in time is a failure."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
POLL = 0.1


class ClaimError(Exception):
    """A statement of the demo is not true. The message is one line that says which."""


def check(*, condition: bool, message: str) -> None:
    """Raise ClaimError with the message, unless the condition is true."""
    if not condition:
        raise ClaimError(message)


def wait_for(seen: Callable[[], T | None], what: str, *, seconds: float, alive: Callable[[], None]) -> T:
    """Poll `seen` and return its first value that is not None.

    Args:
        seen: returns the value, or None while it is not there.
        what: the name of the value in the error message.
        seconds: the longest wait.
        alive: called at each poll; raises an error to end the wait.

    Raises:
        ClaimError: there is no value within the time limit.
    """
    until = time.monotonic() + seconds
    while True:
        value = seen()
        if value is not None:
            return value
        alive()
        check(condition=time.monotonic() < until, message=f"{what} did not happen within {seconds:.0f} s")
        time.sleep(POLL)
