"""The breakers of all workers, as they have told of them."""

from sqlalchemy import Connection, text

TOLD = text(
    """
    select dependency, worker, state, failures, retry_at, error, seen_at from streams.breakers
    where seen_at > clock_timestamp() - interval '1 minute'
    order by dependency, worker
    """
)


def list_breakers(connection: Connection) -> list[dict[str, object]]:
    """One row a dependency and worker: dependency, worker, state, failures, retry_at, error, seen_at.

    States: closed (it answers), open (work waits until `retry_at`), probing (one delivery tries).
    """
    return [dict(row) for row in connection.execute(TOLD).mappings()]
