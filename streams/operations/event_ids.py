"""Events found by the beginning of their id: an id is long to type, and its first digits are its time."""

from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy import Connection, select

from streams.database.tables import executions, outbox

HEX_DIGITS = 32


def event_id_range(prefix: str) -> tuple[UUID, UUID]:
    """The lowest and the highest id that begin with these hexadecimal digits, without hyphens."""
    return UUID(prefix.ljust(HEX_DIGITS, "0")), UUID(prefix.ljust(HEX_DIGITS, "f"))


def find_event_ids(connection: Connection, low: UUID, high: UUID, limit: int) -> list[UUID]:
    """Ids from `low` to `high` that the ledger or the outbox has, in their order, at most `limit`.

    Each is one look into an index, however many executions lie between: the ledger is ordered by day and event id.
    """
    found: set[UUID] = set()
    columns = executions.c
    start, end = low, high
    while len(found) < limit:
        statement = (
            select(columns.event_id)
            .where(columns.day.between(_day(start), _day(end)), columns.event_id.between(start, end))
            .order_by(columns.day, columns.event_id)
            .limit(1)
        )
        one = connection.execute(statement).scalar_one_or_none()
        if one is None:
            break
        found.add(one)
        if one == end:
            break
        start = UUID(int=one.int + 1)
    waiting = select(outbox.c.event_id).where(outbox.c.event_id.between(low, high)).distinct()
    found.update(connection.execute(waiting.order_by(outbox.c.event_id).limit(limit)).scalars())
    return sorted(found)[:limit]


def _day(event_id: UUID) -> date:
    """The UTC day of an id's first 48 bits, as a UUIDv7 has it; the last of all days where they lie beyond it."""
    try:
        return datetime.fromtimestamp((event_id.int >> 80) / 1000, tz=UTC).date()
    except (ValueError, OverflowError, OSError):
        return date.max
