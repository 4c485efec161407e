"""Replays many dead letters, each in a transaction of its own: one that cannot be replayed does not stop the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine

from streams.operations.dead_letters.index import DeadLetter, DeadLetterMissingError
from streams.operations.dead_letters.records import RecordUnreadableError, read_records
from streams.operations.dead_letters.replay import ReplayRefusedError, replay
from streams.settings import Settings
from streams.topics import Catalogue


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of replaying one dead letter. `error` says why it was not replayed."""

    id: str
    event_id: UUID | None
    handler: str | None
    topic: str | None
    replayed: bool
    error: str | None = None


def replay_each(
    engine: Engine, settings: Settings, catalogue: Catalogue, letters: Sequence[DeadLetter], *, by: str
) -> Iterator[ReplayResult]:
    """Replay dead letters, and yield the result of each one after its transaction.

    Args:
        engine: The database of the index, the ledger and the outbox.
        settings: The connection settings of Kafka.
        catalogue: The topics and their retry tiers.
        letters: The index's rows.
        by: Who replays them, and how.

    Raises:
        NoBrokerError: No broker answers, so no further dead letter can be replayed.
    """
    for letter, record in read_records(settings, letters):
        if record is None:
            yield _failed(letter, f"{letter.id} is no longer on Kafka: its topic's retention has passed")
            continue
        if isinstance(record, RecordUnreadableError):
            yield _failed(letter, f"{letter.id} cannot be read: {record}")
            continue
        try:
            with engine.begin() as connection:
                done = replay(connection, catalogue, letter, record, by=by)
        except (ReplayRefusedError, DeadLetterMissingError) as error:
            yield _failed(letter, str(error))
        else:
            yield ReplayResult(done.id, done.event_id, done.handler, done.topic, replayed=True)


def _failed(letter: DeadLetter, error: str) -> ReplayResult:
    return ReplayResult(letter.id, letter.event_id, letter.handler, None, replayed=False, error=error)
