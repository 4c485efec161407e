"""What the platform's side refuses for good is, for a delivery, permanent."""

from collections.abc import Iterator
from contextlib import contextmanager

from streams.delivery import Permanent
from streams.dify.refusals import RefusedError


@contextmanager
def refusals_are_permanent() -> Iterator[None]:
    """Turns RefusedError into Permanent with the same words."""
    try:
        yield
    except RefusedError as error:
        raise Permanent(str(error)) from error
