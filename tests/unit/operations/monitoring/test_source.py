"""A source that is read in the background: its last reading, its failures, and readings that hang."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from streams.operations.monitoring.source import Source
from streams.transport.kafka.errors import BrokersUnreachableError

BOUNDED = 60.0
"""Seconds that a test waits at most."""


@contextmanager
def reading(read: Callable[[], int], *, interval: float = 0.01, longest: float = BOUNDED) -> Iterator[Source[int]]:
    source = Source("kafka", read, interval, longest=longest)
    source.start()
    try:
        yield source
    finally:
        source.stop(BOUNDED)


def test_the_last_reading_is_kept_until_the_next_one() -> None:
    numbers = iter(range(1000))
    with reading(lambda: next(numbers)) as source:
        assert source.wait(3, BOUNDED)
        last = source.last()
        assert last is not None
        assert last.value is not None
        assert last.value >= 2
        assert last.error is None


def test_a_failure_drops_the_figures_and_the_next_success_brings_new_ones() -> None:
    """Also for an error that nobody expects: the thread goes on."""
    results: list[int | Exception] = [1, BrokersUnreachableError("no broker answers"), ZeroDivisionError("a bug"), 4]
    seen: list[tuple[int | None, str | None]] = []

    def read() -> int:
        last = source.last() if results else None
        if last is not None:
            seen.append((last.value, last.error))
        result = results.pop(0) if results else 5
        if isinstance(result, Exception):
            raise result
        return result

    source = Source("kafka", read, 0.01, longest=BOUNDED)
    source.start()
    assert source.wait(5, BOUNDED)
    source.stop(BOUNDED)
    assert seen == [(1, None), (None, "no broker answers"), (None, "a bug")]
    last = source.last()
    assert last is not None
    assert last.value is not None


def test_figures_are_dropped_while_a_reading_hangs() -> None:
    """And stopping does not wait for it."""
    released, hanging = threading.Event(), threading.Event()
    numbers = iter([1])

    def read() -> int:
        for number in numbers:
            return number
        hanging.set()
        released.wait(BOUNDED)
        return 2

    with reading(read, longest=0.0) as source:
        assert hanging.wait(BOUNDED)
        until = threading.Event()
        for _ in range(1000):
            if (last := source.last()) is not None and last.value is None:
                break
            until.wait(0.01)
        assert last is not None
        assert (last.value, last.error) == (None, "no answer in time")
        source.stop(0.0)
        assert source.is_alive
        released.set()


def test_before_the_first_reading_there_is_none() -> None:
    released = threading.Event()

    def read() -> int:
        released.wait(BOUNDED)
        return 1

    with reading(read) as source:
        assert source.last() is None
        assert not source.wait(1, 0.0)
        released.set()
        assert source.wait(1, BOUNDED)
