"""Events under way while something breaks, published as a service would: in transactions, by the outbox."""

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
"""Entities that the events are of: several events share a lane."""
AT_ONCE = 20
"""Events of one transaction."""
PAUSE = 0.3
"""Seconds until a transaction that failed is tried again."""


@dataclass(frozen=True)
class Load:
    """Events in the order of their publishing."""

    events: Sequence[Trial]


def mixed(count: int, *, long_share: int = 40) -> Load:
    """Half single, half batch events, one in ten of which fails once; one in `long_share` is long work instead."""
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
def published_beside(settings: Settings, engine: Engine, load: Load, *, seconds: float) -> Iterator[None]:
    """Publish the load while the block runs, over so many seconds; all of it is committed when the block has ended."""
    codec = build_codec(settings, load_catalogue(settings))
    parts = [load.events[start : start + AT_ONCE] for start in range(0, len(load.events), AT_ONCE)]
    over = threading.Event()

    def publish() -> None:
        for part in parts:
            _commit(engine, codec, part)
            over.wait(seconds / len(parts))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _commit(engine: Engine, codec: Codec, events: Sequence[Trial]) -> None:
    """As a service does that may not lose them: again after an error. A commit of unknown outcome may be repeated."""
    again = threading.Event()
    while True:
        try:
            with Session(engine) as session, session.begin():
                for event in events:
                    Outbox(session, codec).publish(event)
        except SQLAlchemyError:
            again.wait(PAUSE)
        else:
            return
