"""Reads from the ledger's database what the exporter reports, in one short transaction."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from streams.database import sync_engine
from streams.database.engines import check_migrated, unavailable
from streams.operations.monitoring.sample import (
    Breaker,
    DatabaseSample,
    Death,
    OpenDeadLetters,
    PausedItem,
    ScheduleState,
)
from streams.publishing.outbox.depth import measure_depth
from streams.schedules.history import list_schedules
from streams.settings import Settings
from streams.topics import Catalogue

MOST_COUNTED = 100_000
"""At this number of open dead letters, counting ends."""
MOST_BREAKERS = 200
"""Dependencies. A deployment has about ten."""
STATEMENT_SECONDS = 10.0
"""The time limit of a statement."""

LIMITS = text("select set_config('statement_timeout', :milliseconds, true), set_config('lock_timeout', '1s', true)")
DEAD_LETTERS = text(
    """
    select topic, coalesce(handler, '') as handler, reason, count(*) as number
    from (select topic, handler, reason from streams.dead_letters where replayed_at is null limit :most) as open
    group by 1, 2, 3
    """
)
DEATHS = text(
    """
    select last.* from unnest(cast(:dlqs as text[])) as dlq cross join lateral (
        select died_at, topic, handler, reason, error_type, id from streams.dead_letters
        where dlq_topic = dlq order by died_at desc limit :limit
    ) as last
    order by last.died_at desc, last.id limit :limit
    """
)
"""Reads a few rows of each DLQ by the index `dead_letters_topic`."""
SUCCESSES = text(
    """
    select s.name, last.completed_at from streams.schedules s cross join lateral (
        select completed_at from streams.slots
        where schedule = s.name and status = 'success' order by slot desc limit 1
    ) as last
    where s.removed_at is null
    """
)
MISSED = text(
    """
    select schedule, count(*) as number from streams.slots
    where claimed_at > clock_timestamp() - interval '24 hours' and status = 'missed' group by schedule
    """
)
PAUSES = text("select kind, name, since from streams.pauses order by kind, name")
BREAKERS = text(
    """
    select dependency, count(*) filter (where state <> 'closed') as waiting, count(*) as workers,
        max(error) filter (where state <> 'closed') as error
    from streams.breakers where seen_at > clock_timestamp() - interval '1 minute'
    group by dependency order by dependency limit :most
    """
)


class DatabaseReader:
    """Opens a connection for each reading. Used by one thread."""

    def __init__(self, settings: Settings, catalogue: Catalogue, *, deaths: int = 0) -> None:
        """Create an engine without connecting. Raises SettingsError for a wrong URL.

        Args:
            settings: The database's URL.
            catalogue: The topics whose DLQs are searched for the newest dead letters.
            deaths: How many of the newest dead letters are read.
        """
        self._settings = settings
        self._dlqs = [catalogue.dlq(topic.name) for topic in catalogue]
        self._deaths = deaths
        self._engine: Engine = sync_engine(settings)

    def read(self) -> DatabaseSample:
        """Return the present state. Raises DatabaseUnavailableError, DatabaseNotMigratedError."""
        try:
            with self._engine.begin() as connection:
                connection.execute(LIMITS, {"milliseconds": str(round(STATEMENT_SECONDS * 1000))})
                check_migrated(connection)
                return self._read(connection)
        except OperationalError as error:
            raise unavailable(self._settings, error) from error

    def _read(self, connection: Connection) -> DatabaseSample:
        counted = connection.execute(DEAD_LETTERS, {"most": MOST_COUNTED})
        breakers = connection.execute(BREAKERS, {"most": MOST_BREAKERS})
        return DatabaseSample(
            outbox=measure_depth(connection),
            dead_letters=[OpenDeadLetters(row.topic, row.handler, row.reason, row.number) for row in counted],
            schedules=list(_schedules(connection)),
            paused=[PausedItem(row.kind, row.name, row.since) for row in connection.execute(PAUSES)],
            breakers=[Breaker(row.dependency, row.waiting, row.workers, row.error) for row in breakers],
            deaths=self._newest_deaths(connection),
        )

    def _newest_deaths(self, connection: Connection) -> list[Death]:
        if not self._deaths:
            return []
        rows = connection.execute(DEATHS, {"dlqs": self._dlqs, "limit": self._deaths})
        return [Death(row.died_at, row.topic, row.handler, row.reason, row.error_type, row.id) for row in rows]


def _schedules(connection: Connection) -> Iterable[ScheduleState]:
    successes = {row.name: row.completed_at for row in connection.execute(SUCCESSES)}
    missed = {row.schedule: row.number for row in connection.execute(MISSED)}
    for row in list_schedules(connection):
        name, next_slot = str(row["name"]), row["next_slot"]
        yield ScheduleState(
            name=name,
            enabled=bool(row["enabled"]),
            paused=bool(row["paused"]),
            next_slot=next_slot if isinstance(next_slot, datetime) else None,
            last_success=successes.get(name),
            missed=missed.get(name, 0),
            broken=bool(row["enabled"]) and not row["paused"] and row["error"] is not None,
        )
