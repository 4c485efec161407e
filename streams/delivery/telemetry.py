"""Logs and counts what happened to deliveries; call it after the commit, so that each fact is reported once."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial, wraps
from time import perf_counter
from typing import ParamSpec

from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord, fingerprint
from streams.delivery.death_report import death_report
from streams.delivery.delivery import Delivery
from streams.observability import metrics
from streams.observability.logs import get_logger
from streams.observability.metrics import UNKNOWN, DeliveryMeter, delivery_meter
from streams.observability.sentry.reporter import SentryReports
from streams.topics import Catalogue

log = get_logger(__name__)
_lines = logging.getLogger(__name__)
"""The same logger, to check whether a level is enabled: structlog's own check costs three times as much."""


P = ParamSpec("P")


def _contained(report: Callable[P, None]) -> Callable[P, None]:
    """Return a report that never raises: what it reports is committed, and must not be done or settled again."""

    @wraps(report)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            report(*args, **kwargs)
        except Exception:
            log.exception("cannot report a delivery")

    return run


class Telemetry:
    """The logs and metrics about the deliveries of one consumer group.

    A record's headers may name any topic and any handler. Its dead letter keeps these names, a metric does not: each
    value of a label is one more series, for as long as the process runs.
    """

    def __init__(
        self, group: str, catalogue: Catalogue, handlers: Collection[str], reports: SentryReports | None = None
    ) -> None:
        """Create the telemetry of one consumer group.

        Args:
            group: The consumer group's name.
            catalogue: The topics that may be the value of a label.
            handlers: The names of the handlers that may be the value of a label.
            reports: Sends dead letters to Sentry; None: Sentry is not used.
        """
        self._group = group
        self._catalogue = catalogue
        self._handlers = handlers
        self._meters: dict[str, DeliveryMeter] = {}
        """By handler: the meter that was used last. A handler has one topic."""
        self._reports = reports

    def decoded(self, deliveries: Iterable[Delivery], fetched_at: float) -> None:
        """Record how long it took from the fetch of a chunk until it was decoded.

        Args:
            deliveries: One delivery per handler.
            fetched_at: When the chunk was fetched, in seconds of `time.perf_counter`.
        """
        took = perf_counter() - fetched_at
        for delivery in deliveries:
            self._meter(delivery).decodes.observe(took)

    def started(self, first: Delivery) -> None:
        """Record how long the first delivery of a unit has waited for its lane and a slot."""
        pending = first.pending
        if pending is not None:
            self._meter(first).waits.observe(perf_counter() - (first.due_since or pending.chunk.decoded_at))

    def out_of_order(self, first: Delivery, late: int) -> None:
        """Count first attempts that start or come out of offset order, which must never happen.

        Args:
            first: The first delivery of their unit or chunk.
            late: How many of it.
        """
        self._meter(first).out_of_order += late
        log.error("deliveries are out of offset order", handler=first.handler.name, deliveries=late)

    def used(self, first: Delivery, processor_seconds: float) -> None:
        """Add the processor time of an attempt that is not reported otherwise. `first` is one of its deliveries."""
        self._meter(first).processor_seconds += processor_seconds

    def settled(self, delivery: Delivery, took: float) -> None:
        """Record how long it took from the end of an attempt, or from its commit, until the offset was settled."""
        self._meter(delivery).settles.observe(took)

    def drain_exceeded(self, work: Iterable[str]) -> None:
        """Count a drain that met its time limit, by the kinds of the work that was still running."""
        metrics.drains_exceeded(work)

    def succeeded(
        self, done: Sequence[Delivery], began: float, returned: float, committed: float, processor_seconds: float = 0.0
    ) -> None:
        """Report that a handler returned, its transaction committed, and the offsets are settled now.

        The times are in seconds of `time.perf_counter`.

        Args:
            done: The deliveries that it ran for, of one handler; at least one.
            began: When the run began.
            returned: When the handler returned.
            committed: When the transaction was committed.
            processor_seconds: Processor time of the run.
        """
        settled = perf_counter()
        try:  # not the decorator, which costs as much as the rest: this is called for each small handler
            now = datetime.now(tz=UTC)
            meter = self._meter(done[0])
            meter.observe_success(
                returned - began,
                committed - returned,
                settled - committed,
                [(now - delivery.event.occurred_at).total_seconds() for delivery in done],
                processor_seconds,
            )
            # A log line costs more than a short handler, so these lines have the level DEBUG.
            if done[0].handler.kind == "long":
                log.info("delivery succeeded", deliveries=len(done), seconds=round(committed - began, 4))
            elif _lines.isEnabledFor(logging.DEBUG):
                log.debug("delivery succeeded", deliveries=len(done), seconds=round(committed - began, 4))
        except Exception:
            log.exception("cannot report a delivery")

    @_contained
    def skipped(self, deliveries: Sequence[Delivery], done: Sequence[Delivery]) -> None:
        """Report deliveries that did not run, because they ran before or have a newer record: all except `done`."""
        skipped = len(deliveries) - len(done)
        self._meter(deliveries[0]).count_outcome("duplicate", skipped)
        log.info("delivery was done before, nothing ran", deliveries=skipped)

    @_contained
    def failed(self, delivery: Delivery, error: Exception, took: float) -> None:
        """Report a failed attempt. Its outcome is reported after the settlement.

        Args:
            delivery: What was attempted.
            error: The error of the attempt.
            took: Duration of the attempt in seconds.
        """
        self._meter(delivery).observe_failure(took)
        log.warning("attempt failed", exc_info=error)

    @_contained
    def retried(self, delivery: Delivery, tier: str, due_at: datetime) -> None:
        """Report that a delivery whose attempt failed is in a retry tier.

        Args:
            delivery: What was attempted.
            tier: The tier's topic.
            due_at: When it runs again.
        """
        self._meter(delivery).count_outcome("retry")
        metrics.retries(tier, delivery.handler.name).inc()
        log.info("retry scheduled", tier=tier, due_at=due_at.isoformat())

    @_contained
    def deferred(self, delivery: Delivery, why: str) -> None:
        """Report that a delivery is in a retry tier, and that no attempt was counted."""
        self._meter(delivery).count_outcome("deferred")
        log.info("delivery deferred", why=why)

    @_contained
    def deferred_all(self, deliveries: Sequence[Delivery], why: str) -> None:
        """Report deliveries of one handler that are in a retry tier without an attempt. One line for all of them."""
        self._meter(deliveries[0]).count_outcome("deferred", len(deliveries))
        log.info("deliveries deferred", handler=deliveries[0].handler.name, deliveries=len(deliveries), why=why)

    @_contained
    def moved_to_tier_zero(self, deliveries: Sequence[Delivery]) -> None:
        """Report deliveries that moved to tier zero, because they exceeded their tenants' share of the window."""
        for delivery in deliveries:
            self._meter(delivery).count_outcome("deferred")
        log.info("deliveries over their tenants' share moved to tier zero", deliveries=len(deliveries))

    @_contained
    def died(self, delivery: Delivery, info: DeadLetterInfo) -> None:
        """Report that a delivery is a dead letter, for the reason and with the error of its headers."""
        meter = self._meter(delivery)
        meter.count_outcome("dead")
        meter.observe_age((datetime.now(tz=UTC) - delivery.event.occurred_at).total_seconds())
        self._report_dead_letter(delivery.topic.name, info)
        if self._reports is not None:
            tenant = delivery.event.tenant_id
            report = partial(death_report, delivery.record, delivery.topic.name, info, tenant, delivery.event)
            self._reports.report((fingerprint(info),), report)

    @_contained
    def unreadable(self, unreadable: UnreadableRecord, info: DeadLetterInfo) -> None:
        """Report that an undeliverable record is a dead letter, for the reason and with the error of its headers."""
        self._report_dead_letter(unreadable.topic, info)
        if self._reports is not None:
            report = partial(death_report, unreadable.record, unreadable.topic, info, unreadable.tenant_id)
            self._reports.report((fingerprint(info),), report)

    @_contained
    def lease_lost(self, delivery: Delivery, resource: str) -> None:
        """Report that a long delivery lost its lease while it ran: its later steps cannot commit."""
        metrics.leases_lost(delivery.handler.name).inc()
        log.warning("lease lost; another worker has this delivery", resource=resource)

    def _meter(self, delivery: Delivery) -> DeliveryMeter:
        topic, handler = delivery.topic.name, delivery.handler.name
        meter = self._meters.get(handler)
        if meter is None or meter.topic != topic:
            meter = self._meters[handler] = delivery_meter(topic, self._group, handler)
        return meter

    def _report_dead_letter(self, topic: str, info: DeadLetterInfo) -> None:
        handler, error = info.handler, info.error
        known = handler if handler is None or handler in self._handlers else UNKNOWN
        metrics.dead_letters(self._topic_label(topic), known, info.reason).inc()
        log.error("dead letter", reason=info.reason.value, error_type=error.type_name, error_message=error.message)

    def _topic_label(self, topic: str) -> str:
        known = self._catalogue.find(topic)
        return UNKNOWN if known is None else known.name
