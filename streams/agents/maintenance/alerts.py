"""Handlers that check the pipeline itself, and send notices about what is wrong."""

from datetime import UTC, datetime, timedelta

from schemas import DeadLetterCheckRequested, Event, QueueCheckRequested
from schemas.event import new_event_id
from streams.delivery import Work, handles
from streams.delivery.handler import JSON
from streams.observability.logs import get_logger
from streams.operations.alerts.alert import Checked
from streams.operations.alerts.alert_rows import update_alerts
from streams.operations.alerts.monitoring import Monitoring
from streams.operations.alerts.notices import mail_about, webhook_body
from streams.operations.alerts.webhook import send_notices, write_notices

log = get_logger(__name__)
FIRST_REPEAT = timedelta(seconds=30)
"""The pause before the first additional check after a failure of the webhook or of Kafka. Each further one is twice as
long."""
MOST_REPEATS = 5
"""Additional checks between two of the schedule."""


@handles(QueueCheckRequested, soft_time_limit="90s", time_limit="120s")
async def check_queues(event: QueueCheckRequested, work: Work) -> JSON:
    """Alert about lag, ages, DLQs, missed slots, the outbox and Celery queues that reach their thresholds.

    While the webhook fails, or the lag is not known in full, a few more checks follow: they need not wait for the
    schedule.
    """
    monitoring = work.use(Monitoring)
    checked = await monitoring.check_queues(work.session)
    result, has_failed = await _notify(event, work, monitoring, checked)
    lag_unknown = any(alert.kind == "kafka" for alert in checked.alerts)
    if (has_failed or lag_unknown) and event.repeat < MOST_REPEATS:
        following = event.model_copy(update={"event_id": new_event_id(), "repeat": event.repeat + 1})
        await work.publish(following, at=datetime.now(tz=UTC) + FIRST_REPEAT * 2**event.repeat)
    return result


@handles(DeadLetterCheckRequested, soft_time_limit="50s", time_limit="60s")
async def check_dead_letters(event: DeadLetterCheckRequested, work: Work) -> JSON:
    """Alert about the first dead letter of each handler and type of error.

    The alert lasts until none of them is left in the DLQ, or all are replayed. The next check, after 30 seconds, sends
    what the webhook has not confirmed.
    """
    monitoring = work.use(Monitoring)
    result, _ = await _notify(event, work, monitoring, await monitoring.check_dead_letters(work.session))
    return result


async def _notify(event: Event, work: Work, monitoring: Monitoring, checked: Checked) -> tuple[JSON, bool]:
    """Write the alerts and their notices in one transaction. A mail is sent once, a webhook's notice at least once.

    Returns the result of the check, and whether the webhook has failed.
    """
    changes = await update_alerts(work.session, checked)
    for change in changes:
        log.warning("alert", state=change.state, name=change.name, detail=change.detail)
    if changes and monitoring.emails:
        await work.publish(mail_about(changes, monitoring.application, monitoring.emails))
    sent, has_failed = 0, False
    if monitoring.webhook is not None:
        bodies = [webhook_body(change, monitoring.application, event.event_id) for change in changes]
        await write_notices(work.session, bodies)
        sent, has_failed = await send_notices(work.session, monitoring.webhook)
    raised = sum(change.state == "raised" for change in changes)
    return {
        "alerts": len(checked.alerts),
        "raised": raised,
        "recovered": len(changes) - raised,
        "mailed": bool(changes and monitoring.emails),
        "posted": sent,
        "webhook_failed": has_failed,
    }, has_failed


HANDLERS = (check_queues, check_dead_letters)
