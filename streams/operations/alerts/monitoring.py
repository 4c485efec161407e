"""The monitoring of one deployment as one value: what it reads, its thresholds, and whom it tells."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from streams.observability.logs import get_logger
from streams.observability.metrics import Lag
from streams.operations.alerts.alert import Alert, Checked, Kind
from streams.operations.alerts.celery_queues import CeleryBrokerError, CeleryQueues, build_celery_queues
from streams.operations.alerts.observations import (
    MOST_COUNTED,
    dead_letter_depths,
    dead_letter_pairs,
    missed_slots,
)
from streams.operations.alerts.rules import (
    Thresholds,
    celery_alerts,
    depth_alerts,
    lag_alerts,
    missed_alerts,
    outbox_alerts,
    pair_alerts,
    thresholds_of,
    unknown_ages,
)
from streams.operations.alerts.webhook import Webhook, build_webhook
from streams.operations.lag import group_lag
from streams.operations.oldest import oldest_records
from streams.operations.topic_lag import LagSnapshot, TopicLag, topic_lags
from streams.publishing.outbox.depth import measure_depth
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue

log = get_logger(__name__)
MISSED_PERIODS = 2
"""A missed slot is an alert for so many intervals of the monitor. So a late check sees it too."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Handlers get it by `work.use(Monitoring)`."""

    application: str
    catalogue: Catalogue
    read_lags: Callable[[], Sequence[TopicLag]]
    """Reads Kafka, and blocks."""
    celery: CeleryQueues | None
    """None: no broker is configured."""
    thresholds: Thresholds
    interval: float
    """Seconds between two checks of the queues."""
    emails: tuple[str, ...]
    webhook: Webhook | None

    async def check_queues(self, session: AsyncSession) -> Checked:
        """Compare lag, ages, DLQs, missed slots, the outbox and Celery queues with the thresholds.

        Raises BrokersUnreachableError or KafkaRefusedError. A broker of Celery that does not answer is an alert, and
        the alerts about its queues last.
        """
        lags = await asyncio.to_thread(self.read_lags)
        delays = tier_delays(self.catalogue, [lag.topic for lag in lags])
        unknown = unknown_ages(lags)
        most = max(MOST_COUNTED, self.thresholds.dead_letters)
        kinds: set[Kind] = {"lag", "age", "dead-letters", "missed-slots", "outbox", "celery-broker", "celery-queue"}
        now = datetime.now(tz=UTC)
        alerts = [
            *lag_alerts(lags, delays, now, self.thresholds),
            *depth_alerts(await dead_letter_depths(session, most), most, self.thresholds),
            *missed_alerts(await missed_slots(session, MISSED_PERIODS * self.interval)),
            *outbox_alerts(await (await session.connection()).run_sync(measure_depth), now, self.thresholds),
        ]
        if self.celery is None:
            return Checked(kinds, alerts, unknown)
        try:
            lengths = await self.celery.lengths()
        except CeleryBrokerError as error:
            kinds.remove("celery-queue")
            alerts.append(Alert("celery-broker", "redis", f"its queues cannot be read: {error}"))
        else:
            alerts += celery_alerts(lengths, self.celery.unread, self.thresholds)
        return Checked(kinds, alerts, unknown)

    async def check_dead_letters(self, session: AsyncSession) -> Checked:
        """Return an alert for each handler and type of error that has a dead letter which was not replayed."""
        return Checked(["handler-error"], pair_alerts(await dead_letter_pairs(session)))


def tier_delays(catalogue: Catalogue, topics: Collection[str]) -> dict[str, float]:
    """Return the delays in seconds of the retry topics among these, also of former ones."""
    delays: dict[str, float] = {}
    for pool in POOL_NAMES:
        delays |= {**catalogue.tiers(pool), **catalogue.former_tiers(pool, topics)}
    return delays


def build_monitoring(settings: Settings, catalogue: Catalogue, read: Collection[str]) -> Monitoring:
    """Create the monitoring of the settings. No connection is opened. Raises SettingsError.

    Args:
        settings: The thresholds, the receivers, Kafka and Celery.
        catalogue: The topics.
        read: The event topics that a handler reads. The events of the others wait on purpose, so they are no alert.
    """
    unread = {topic.name for topic in catalogue}.difference(read)

    def read_lags() -> list[TopicLag]:
        lags: list[Lag] = [lag for lag in group_lag(settings, catalogue) if lag.topic not in unread]
        return topic_lags(LagSnapshot(time.monotonic(), lags), oldest=oldest_records(settings, lags))

    return Monitoring(
        application=settings.application,
        catalogue=catalogue,
        read_lags=read_lags,
        celery=build_celery_queues(settings),
        thresholds=thresholds_of(settings),
        interval=settings.queue_monitor_interval,
        emails=settings.alert_emails,
        webhook=build_webhook(settings),
    )
