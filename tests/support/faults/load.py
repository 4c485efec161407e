"""The load of the crash tests: events that are published through the outbox, in transactions, as a service does."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from streams.codec import Codec, build_codec
from streams.publishing import Outbox
from streams.settings import Settings
from streams.topics import load_catalogue
from tests.support.apps.trials import BatchTrialRequested, LongTrialRequested, SingleTrialRequested, Trial

KEYS = 40
"""Keys of the events. Several events share a key and so a lane."""
AT_ONCE = 20
"""Events per transaction."""
PAUSE = 0.3
"""Seconds before a failed transaction is repeated."""


@dataclass(frozen=True)
class Load:
    """Events in the order of publishing."""

    events: Sequence[Trial]


def mixed(count: int, *, long_share: int = 40) -> Load:
    """Return single and batch events. About one in nine fails once; one in `long_share` is long work."""
    return Load([_event(number, long_share) for number in range(count)])


def _event(number: int, long_share: int) -> Trial:
    entity, tenant = f"e{number % KEYS}", f"t{number % 3}"
    if number % long_share == long_share - 1:
        return LongTrialRequested(entity=f"long{number}", tenant_id=tenant, plan="sleep", seconds=0.2)
    kind = SingleTrialRequested if number % 2 else BatchTrialRequested
    if number % 9 == 3:
        return kind(entity=entity, tenant_id=tenant, plan="fail", times=1)
    if number % 7 == 0:
        return SingleTrialRequested(entity=entity, tenant_id=tenant, plan="sleep", seconds=0.05)
    return kind(entity=entity, tenant_id=tenant)


@contextmanager
def publish_in_background(settings: Settings, engine: Engine, load: Load, *, seconds: float) -> Iterator[None]:
    """Publish the load in the background while the block runs. All of it is committed when the block has ended.

    Args:
        settings: The settings of the codec.
        engine: The engine of the test's database.
        load: The events.
        seconds: The time over which they are published.
    """
    codec = build_codec(settings, load_catalogue(settings))
    parts = [load.events[start : start + AT_ONCE] for start in range(0, len(load.events), AT_ONCE)]
    ended = threading.Event()

    def publish() -> None:
        for part in parts:
            _commit(engine, codec, part)
            ended.wait(seconds / len(parts))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _commit(engine: Engine, codec: Codec, events: Sequence[Trial]) -> None:
    """Publish events in a transaction, and repeat it after an error, also if the outcome of the commit is unknown."""
    timer = threading.Event()
    while True:
        try:
            with Session(engine) as session, session.begin():
                for event in events:
                    Outbox(session, codec).publish(event)
        except SQLAlchemyError:
            timer.wait(PAUSE)
        else:
            return
