"""The Prometheus metrics: deliveries, retries, dead letters, the outbox, and the lag of owned partitions.

Labels name topics, groups and handlers, never events or tenants: so the catalogue limits the number of series. A name
that only a record gives is never the value of a label: `UNKNOWN` stands for it. Children are cached, since looking up a
label takes ten times as long as the increment.
"""

from streams.observability.group_metrics import GroupCounts
from streams.observability.metrics.compute import ComputeCollector
from streams.observability.metrics.connections import ConnectionCollector, ConnectionCounts
from streams.observability.metrics.deliveries import (
    DeliveryMeter,
    Outcome,
    dead_letters,
    delivery_meter,
    drains_exceeded,
    expect_deliveries,
    in_flight,
    leases_lost,
    retries,
    waiting,
)
from streams.observability.metrics.dependencies import breaker_open, outbox_failed, outbox_relayed
from streams.observability.metrics.event_loop import measure_delay
from streams.observability.metrics.groups import export_groups
from streams.observability.metrics.lag import Lag, LagCollector
from streams.observability.metrics.registry import REGISTRY, UNKNOWN, export, exposition
from streams.observability.metrics.schedules import SlotCounts
from streams.observability.metrics.suspects import SuspectCollector

__all__ = [
    "REGISTRY",
    "UNKNOWN",
    "ComputeCollector",
    "ConnectionCollector",
    "ConnectionCounts",
    "DeliveryMeter",
    "GroupCounts",
    "Lag",
    "LagCollector",
    "Outcome",
    "SlotCounts",
    "SuspectCollector",
    "breaker_open",
    "dead_letters",
    "delivery_meter",
    "drains_exceeded",
    "expect_deliveries",
    "export",
    "export_groups",
    "exposition",
    "in_flight",
    "leases_lost",
    "measure_delay",
    "outbox_failed",
    "outbox_relayed",
    "retries",
    "waiting",
]
