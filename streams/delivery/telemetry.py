"""Logs and counts what happened to deliveries; call it after the commit, so that each fact is reported once."""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec

from streams.delivery.dead_letter import UnreadableRecord
from streams.delivery.delivery import Delivery
from streams.delivery.errors import Reason
from streams.observability import metrics
from streams.observability.error_text import ErrorText
from streams.observability.logs import get_logger
from streams.observability.metrics import UNKNOWN, DeliveryMeter, delivery_meter
from streams.topics import Catalogue, UnknownEventError

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

    def __init__(self, group: str, catalogue: Catalogue, handlers: Collection[str]) -> None:
        """Create the telemetry of one consumer group.

        Args:
            group: The consumer group's name.
            catalogue: The topics that may be the value of a label.
            handlers: The names of the handlers that may be the value of a label.
        """
        self._group = group
        self._catalogue = catalogue
        self._handlers = handlers

    @_contained
    def succeeded(self, done: Sequence[Delivery], took: float) -> None:
        """Report that a handler returned and its transaction committed.

        Args:
            done: The deliveries that it ran for, of one handler.
            took: Duration of the attempt in seconds.
        """
        if not done:
            return
        meter = self._meter(done[0])
        meter.observe_run(took)
        meter.count_outcome("success", len(done))
        now = datetime.now(tz=UTC)
        meter.observe_ages([(now - delivery.event.occurred_at).total_seconds() for delivery in done])
        # A log line costs more than a short handler, so these lines have the level DEBUG.
        if done[0].handler.kind == "long":
            log.info("delivery succeeded", deliveries=len(done), seconds=round(took, 4))
        elif _lines.isEnabledFor(logging.DEBUG):
            log.debug("delivery succeeded", deliveries=len(done), seconds=round(took, 4))

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
        self._meter(delivery).observe_run(took)
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
    def died(self, delivery: Delivery, reason: Reason, error: ErrorText) -> None:
        """Report that a delivery is a dead letter.

        Args:
            delivery: What was attempted.
            reason: Why there is no other attempt.
            error: The error of the last attempt.
        """
        meter = self._meter(delivery)
        meter.count_outcome("dead")
        meter.observe_ages([(datetime.now(tz=UTC) - delivery.event.occurred_at).total_seconds()])
        self._report_dead_letter(delivery.topic.name, delivery.handler.name, reason, error)

    @_contained
    def unreadable(self, unreadable: UnreadableRecord) -> None:
        """Report that an undeliverable record is a dead letter."""
        self._report_dead_letter(unreadable.topic, unreadable.handler, unreadable.reason, unreadable.error)

    @_contained
    def lease_lost(self, delivery: Delivery, resource: str) -> None:
        """Report that a long delivery lost its lease while it ran: its later steps cannot commit."""
        metrics.leases_lost(delivery.handler.name).inc()
        log.warning("lease lost; another worker has this delivery", resource=resource)

    def _meter(self, delivery: Delivery) -> DeliveryMeter:
        return delivery_meter(delivery.topic.name, self._group, delivery.handler.name)

    def _report_dead_letter(self, topic: str, handler: str | None, reason: Reason, error: ErrorText) -> None:
        known = handler if handler is None or handler in self._handlers else UNKNOWN
        metrics.dead_letters(self._topic_label(topic), known, reason).inc()
        log.error("dead letter", reason=reason.value, error_type=error.type_name, error_message=error.message)

    def _topic_label(self, topic: str) -> str:
        try:
            return self._catalogue.topic(topic).name
        except UnknownEventError:
            return UNKNOWN
