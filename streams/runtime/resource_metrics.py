"""The metrics of a worker's resources. Each is read when Prometheus scrapes."""

from collections.abc import Iterable, Mapping
from functools import partial

from schemas import Event
from streams.database import Database
from streams.delivery.admission.crash_loop_guard import CrashLoopGuard
from streams.delivery.engine import PoolEngine
from streams.delivery.handler import Handler
from streams.delivery.process_pool import ComputePool
from streams.observability import metrics


def export_window(pool: str, engine: PoolEngine) -> None:
    """Export the numbers of running and waiting deliveries of a pool."""
    metrics.in_flight(pool).set_function(lambda: engine.running)
    metrics.waiting(pool).set_function(lambda: engine.waiting)


def export_outcomes(group: str, handlers: Mapping[str, Iterable[Handler[Event]]]) -> None:
    """Export the outcomes of deliveries as 0, before the first one of a handler.

    Args:
        group: The pool's consumer group.
        handlers: The handlers by topic, of the topics of the pool.
    """
    for topic, of_topic in handlers.items():
        for handler in of_topic:
            metrics.expect_deliveries(topic, group, handler.name)


def export_resources(compute: ComputePool, guard: CrashLoopGuard, databases: Mapping[str, Database]) -> None:
    """Export the numbers of the compute processes, of suspects and of connections.

    Args:
        compute: The compute processes.
        guard: Knows which records are suspects.
        databases: The connections, by their owner: a pool, or the worker.
    """
    metrics.export(metrics.ComputeCollector(compute.usage))
    metrics.export(metrics.SuspectCollector(guard.suspects))
    metrics.export(metrics.ConnectionCollector(partial(_connections, databases)))


def _connections(databases: Mapping[str, Database]) -> list[metrics.ConnectionCounts]:
    return [
        metrics.ConnectionCounts(f"{owner}-{engine}", *counts)
        for owner, database in databases.items()
        for engine, counts in database.connections().items()
    ]
