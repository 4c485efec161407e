"""The circuit breakers of all workers, as last reported by each worker."""

from sqlalchemy import Connection, text

REPORTED = text(
    """
    select dependency, worker, state, failures, retry_at, error, seen_at from streams.breakers
    where seen_at > clock_timestamp() - interval '1 minute'
    order by dependency, worker
    """
)


def list_breakers(connection: Connection) -> list[dict[str, object]]:
    """Return one row per dependency and worker: dependency, worker, state, failures, retry_at, error, seen_at.

    States: closed (it answers), open (work waits until `retry_at`), probing (one delivery tests it).
    """
    return [dict(row) for row in connection.execute(REPORTED).mappings()]
