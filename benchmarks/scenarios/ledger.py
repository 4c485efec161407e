"""`streams executions list` on a ledger of ten million rows."""

import time
from uuid import UUID

from sqlalchemy import text

from benchmarks.environment import Sandbox, Servers, say
from benchmarks.result import Result, Results
from streams.operations.executions import ExecutionFilter, list_executions

ROWS = 10_000_000
DAYS = 28
LIMIT = 50
TARGET = 0.2
RUNS = 5

FILL = text(
    """
    insert into streams.executions (
        day, event_id, handler, task_id, topic, partition, "offset", key, tenant_id, pool, args, status, attempts,
        created_at, started_at, completed_at, worker)
    select at::date, id, handler, id, topic, n % 4, n, decode('6b6579', 'hex'), 'tenant-' || n % 5000, 'low',
        jsonb_build_object('document_id', id),
        case when n % 10007 = 0 then 'failure' when n % 20011 = 0 then 'retry' else 'success' end, 1, at, at, at, 'w:1'
    from (
        select n, at, uuidv7(at - clock_timestamp()) as id,
            case when n % 50000 = 7 then 'rare.topic' when n % 3 = 0 then 'document.deleted' else 'message.created' end
                as topic,
            case when n % 50000 = 7 then 'do-rarely' when n % 3 = 0 then 'clean-document' else 'charge-message' end
                as handler
        from generate_series(1, :count) as n,
            lateral (select cast(:day as date) + make_interval(secs => 100 + 86000.0 * n / :count) as at) as times
    ) as made
    """
)


def run(servers: Servers, scale: float) -> Results:
    """The slowest of all filters, at most 0.2 s: the statement only, without the start of the command."""
    with servers.sandbox("ledger") as sandbox:
        count = fill(sandbox, max(round(ROWS * scale), DAYS))
        known = first_event(sandbox)
        filters = {
            "all": ExecutionFilter(),
            "success": ExecutionFilter(status="success"),
            "failure": ExecutionFilter(status="failure"),
            "retry": ExecutionFilter(status="retry"),
            "started": ExecutionFilter(status="started"),
            "tenant": ExecutionFilter(tenant_id="tenant-77"),
            "unknown-tenant": ExecutionFilter(tenant_id="nobody"),
            "topic": ExecutionFilter(topic="message.created"),
            "rare-topic": ExecutionFilter(topic="rare.topic"),
            "handler": ExecutionFilter(handler="clean-document", topic="document.deleted"),
            "rare-handler": ExecutionFilter(handler="do-rarely", topic="rare.topic"),
            "failures-of-a-handler": ExecutionFilter(
                handler="clean-document", topic="document.deleted", status="failure"
            ),
            "failures-of-a-tenant": ExecutionFilter(tenant_id="tenant-77", status="failure"),
            "event": ExecutionFilter(event_id=known),
        }
        took = {name: slowest_of(sandbox, wanted) for name, wanted in filters.items()}
        slowest = max(took, key=lambda name: took[name])
        detail = {"rows": count, "slowest": slowest, **{name: round(found, 4) for name, found in took.items()}}
        yield Result("ledger-list", took[slowest], "seconds", "at most", TARGET, detail)


def fill(sandbox: Sandbox, count: int) -> int:
    """Insert rows over the last four weeks. Returns their number."""
    say(f"a ledger of {count} rows")
    for back in range(DAYS):
        with sandbox.engine.begin() as connection:
            day = connection.execute(text("select (now() at time zone 'utc')::date - :back"), {"back": back}).scalar()
            connection.execute(FILL, {"day": day, "count": count // DAYS})
    with sandbox.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze streams.executions"))
    return sandbox.scalar("select count(*) from streams.executions")


def first_event(sandbox: Sandbox) -> UUID:
    """Return any event of the ledger."""
    with sandbox.engine.connect() as connection:
        found = connection.execute(text("select event_id from streams.executions limit 1")).scalar_one()
        assert isinstance(found, UUID)  # noqa: S101 - the column's type
        return found


def slowest_of(sandbox: Sandbox, wanted: ExecutionFilter) -> float:
    """Return the seconds of the slowest of several runs, including the first one."""
    took = []
    for _ in range(RUNS):
        with sandbox.engine.connect() as connection:
            started = time.perf_counter()
            list_executions(connection, wanted, LIMIT)
            took.append(time.perf_counter() - started)
    return max(took)
