"""The monitoring of one deployment as one value: what it reads, its thresholds, and whom it tells."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from streams.observability.error_text import message
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
    unknown_alerts,
    unknown_names,
)
from streams.operations.alerts.webhook import Webhook, build_webhook
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import UnknownLag, group_lag
from streams.operations.oldest import oldest_records
from streams.operations.topic_lag import LagSnapshot, TopicLag, topic_lags
from streams.publishing.outbox.depth import measure_depth
from streams.settings import POOL_NAMES, Settings
from streams.topics import Catalogue
from streams.transport.kafka.errors import BrokersUnreachableError

KAFKA_SECONDS = 45.0
"""The time limit for reading Kafka: half of the check's, so that the other alerts are sent although Kafka hangs."""
MISSED_PERIODS = 2
"""A missed slot is an alert for so many intervals of the monitor. So a late check sees it too."""


@dataclass(frozen=True, slots=True)
class TopicLags:
    """The lag of each group and topic, as far as Kafka returned it."""

    lags: Sequence[TopicLag]
    unknown: Sequence[UnknownLag] = ()
    """The partitions that are left out."""


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Handlers get it by `work.use(Monitoring)`."""

    application: str
    catalogue: Catalogue
    read_lags: Callable[[], TopicLags]
    """Reads Kafka, and blocks. Raises BrokersUnreachableError, KafkaRefusedError."""
    celery: CeleryQueues | None
    """None: no broker is configured."""
    thresholds: Thresholds
    interval: float
    """Seconds between two checks of the queues."""
    emails: tuple[str, ...]
    webhook: Webhook | None

    async def check_queues(self, session: AsyncSession) -> Checked:
        """Compare lag, ages, DLQs, missed slots, the outbox and Celery queues with the thresholds.

        A server that does not answer, Kafka or the Redis of Celery, is an alert itself. The alerts about what it would
        say last, and the others are checked.
        """
        kinds: set[Kind] = {"kafka", "dead-letters", "missed-slots", "outbox", "celery-broker", "celery-queue"}
        alerts: list[Alert] = []
        unknown: set[str] = set()
        try:
            async with asyncio.timeout(KAFKA_SECONDS):
                read = await asyncio.to_thread(self.read_lags)
        except (BrokersUnreachableError, KafkaRefusedError, TimeoutError) as error:
            alerts.append(Alert("kafka", "lag", message(error) or f"no lag was read within {KAFKA_SECONDS:g} s"))
        else:
            kinds |= {"lag", "age"}
            unknown = unknown_names(read.lags, read.unknown)
            delays = tier_delays(self.catalogue, [lag.topic for lag in read.lags])
            now = datetime.now(tz=UTC)
            alerts += [*lag_alerts(read.lags, delays, now, self.thresholds), *unknown_alerts(read.unknown)]
        most = max(MOST_COUNTED, self.thresholds.dead_letters)
        outbox = await (await session.connection()).run_sync(measure_depth)
        alerts += [
            *depth_alerts(await dead_letter_depths(session, most), most, self.thresholds),
            *missed_alerts(await missed_slots(session, MISSED_PERIODS * self.interval)),
            *outbox_alerts(outbox, datetime.now(tz=UTC), self.thresholds),
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

    def read_lags() -> TopicLags:
        reading = group_lag(settings, catalogue)
        lags = [lag for lag in reading.lags if lag.topic not in unread]
        oldest = oldest_records(settings, lags)
        unknown = [one for one in reading.unknown if one.topic not in unread]
        return TopicLags(topic_lags(LagSnapshot(time.monotonic(), lags), oldest=oldest), unknown)

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
