"""What is logged and counted of a delivery, in one place, so that the paths above stay readable."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from streams.delivery.delivery import Delivery
from streams.delivery.errors import Reason
from streams.observability import metrics
from streams.observability.error_text import ErrorText
from streams.observability.logs import get_logger
from streams.observability.metrics import DeliveryMeter, delivery_meter

log = get_logger(__name__)
_lines = logging.getLogger(__name__)
"""The same logger, to be asked whether a line would be written: structlog's own look-up costs three times as much."""


def report_success(group: str, done: Sequence[Delivery], took: float) -> None:
    """A handler returned and its transaction committed, for these deliveries, after so many seconds."""
    if not done:
        return
    meter = _meter(group, done[0])
    meter.ran(took)
    meter.settled("success", len(done))
    now = datetime.now(tz=UTC)
    meter.done([(now - delivery.event.occurred_at).total_seconds() for delivery in done])
    # A line costs more than a short handler: of those only who looks for something wants one.
    if done[0].handler.kind == "long":
        log.info("delivery succeeded", deliveries=len(done), seconds=round(took, 4))
    elif _lines.isEnabledFor(logging.DEBUG):
        log.debug("delivery succeeded", deliveries=len(done), seconds=round(took, 4))


def report_skipped(group: str, deliveries: Sequence[Delivery], done: Sequence[Delivery]) -> None:
    """These deliveries but the ones done had run before, or have moved on: nothing ran for them."""
    skipped = len(deliveries) - len(done)
    _meter(group, deliveries[0]).settled("duplicate", skipped)
    log.info("delivery was done before, nothing ran", deliveries=skipped)


def report_failure(group: str, delivery: Delivery, error: Exception, took: float) -> None:
    """An attempt failed after so many seconds; how it goes on is reported when that is settled."""
    _meter(group, delivery).ran(took)
    log.warning("attempt failed", exc_info=error)


def report_retry(group: str, delivery: Delivery, tier: str, due_at: datetime) -> None:
    """A failed attempt was handed to a tier."""
    _meter(group, delivery).settled("retry")
    metrics.retries(tier, delivery.handler.name).inc()
    log.info("retry scheduled", tier=tier, due_at=due_at.isoformat())


def report_deferred(group: str, delivery: Delivery, why: str) -> None:
    """A delivery was handed on without counting an attempt."""
    _meter(group, delivery).settled("deferred")
    log.info("delivery deferred", why=why)


def report_set_aside(group: str, deliveries: Sequence[Delivery]) -> None:
    """Deliveries of tenants that had more than their share of the window waiting went to the tier of delay zero."""
    for delivery in deliveries:
        _meter(group, delivery).settled("deferred")
    log.info("deliveries past their tenants' share set aside", deliveries=len(deliveries))


def report_death(group: str, delivery: Delivery, reason: Reason, error: ErrorText) -> None:
    """A delivery is a dead letter."""
    meter = _meter(group, delivery)
    meter.settled("dead")
    meter.done([(datetime.now(tz=UTC) - delivery.event.occurred_at).total_seconds()])
    metrics.dead_letters(delivery.topic.name, delivery.handler.name, reason).inc()
    log.error("dead letter", reason=reason.value, error_type=error.type_name, error_message=error.message)


def report_unreadable(topic: str, handler: str | None, reason: Reason, error: ErrorText) -> None:
    """A record that no handler could be given is a dead letter."""
    metrics.dead_letters(topic, handler, reason).inc()
    log.error("dead letter", reason=reason.value, error_type=error.type_name, error_message=error.message)


def report_lease_lost(delivery: Delivery, resource: str) -> None:
    """A long delivery's lease ran out under it: whatever it did since does not count."""
    metrics.leases_lost(delivery.handler.name).inc()
    log.warning("lease lost, another worker has this delivery now", resource=resource)


def _meter(group: str, delivery: Delivery) -> DeliveryMeter:
    return delivery_meter(delivery.topic.name, group, delivery.handler.name)
