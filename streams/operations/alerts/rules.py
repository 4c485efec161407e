"""Decides which observations are alerts: values in, alerts out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.observability.outbox_metrics import OutboxDepth
from streams.operations.alerts.alert import Alert, Kind
from streams.operations.alerts.observations import DeadLetterPair, MissedSlots
from streams.operations.lag import UnknownLag
from streams.operations.topic_lag import TopicLag
from streams.settings import Settings

_SHOWN = 300
"""Characters of an error's message in an alert."""
_OF_TOPICS: tuple[Kind, ...] = ("lag", "age")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which value on an observation is an alert."""

    lag: int
    """Records, or tasks of a Celery queue, that wait."""
    age: float
    """Seconds that the oldest record has waited."""
    dead_letters: int


def thresholds_of(settings: Settings) -> Thresholds:
    """Return the thresholds of the settings."""
    return Thresholds(settings.queue_monitor_lag, settings.queue_monitor_age, settings.queue_monitor_dead_letters)


def unknown_names(lags: Iterable[TopicLag], unknown: Iterable[UnknownLag]) -> set[str]:
    """Return the names of alerts about what could not be read.

    Args:
        lags: The lag of each group and topic. The oldest record of some may be unknown.
        unknown: The partitions whose lag is unknown. The lag and the age of their topics are not known in full.
    """
    ages = {Alert("age", _subject(lag.consumergroup, lag.topic), "").name for lag in lags if lag.lag and not lag.oldest}
    subjects = {_subject(one.consumergroup, one.topic) for one in unknown}
    return ages | {Alert(kind, subject, "").name for kind in _OF_TOPICS for subject in subjects}


def unknown_alerts(unknown: Sequence[UnknownLag]) -> list[Alert]:
    """Return the alert about partitions whose lag is unknown: one for all of them."""
    if not unknown:
        return []
    return [Alert("kafka", "lag", f"the lag of {len(unknown)} partitions is unknown: {unknown[0].error}")]


def _subject(group: str, topic: str) -> str:
    return f"{group}:{topic}"


def lag_alerts(
    lags: Iterable[TopicLag], tier_delays: Mapping[str, float], now: datetime, thresholds: Thresholds
) -> list[Alert]:
    """Return the alerts about records that wait.

    Args:
        lags: The lag of each group and topic, with the time of the oldest record.
        tier_delays: Retry topic → its delay in seconds. Its records are meant to wait that long.
        now: The present time.
        thresholds: The limits.
    """
    alerts = []
    for lag in lags:
        subject = _subject(lag.consumergroup, lag.topic)
        if lag.lag >= thresholds.lag:
            detail = f"{lag.lag} records wait, the limit is {thresholds.lag}"
            alerts.append(Alert("lag", subject, detail))
        if lag.oldest is None:
            continue
        age, limit = (now - lag.oldest).total_seconds(), thresholds.age + tier_delays.get(lag.topic, 0.0)
        if age >= limit:
            detail = f"the oldest record has waited for {age:.0f} s, the limit is {limit:.0f} s"
            alerts.append(Alert("age", subject, detail))
    return alerts


def depth_alerts(depths: Mapping[str, int], most: int, thresholds: Thresholds) -> list[Alert]:
    """Return the alerts about DLQs.

    Args:
        depths: DLQ → its dead letters that were not replayed.
        most: The number at which counting ended.
        thresholds: The limits.
    """
    return [
        Alert("dead-letters", dlq, f"{depth}{' or more' if depth >= most else ''} dead letters were not replayed")
        for dlq, depth in depths.items()
        if depth >= thresholds.dead_letters
    ]


def missed_alerts(missed: Iterable[MissedSlots]) -> list[Alert]:
    """Return the alerts about schedules that have missed slots."""
    return [
        Alert(
            "missed-slots", one.schedule, f"{one.count} slots did not run, the last one is {one.last:%Y-%m-%d %H:%M %Z}"
        )
        for one in missed
    ]


def outbox_alerts(depth: OutboxDepth, now: datetime, thresholds: Thresholds) -> list[Alert]:
    """Return the alerts about rows that wait for the relay, and about rows that Kafka refused."""
    age = 0.0 if depth.oldest is None else now.timestamp() - depth.oldest
    alerts = []
    if depth.waiting >= thresholds.lag:
        alerts.append(Alert("outbox", "waiting", f"{depth.waiting} rows wait, the limit is {thresholds.lag}"))
    if age >= thresholds.age:
        detail = f"the oldest row has waited for {age:.0f} s, the limit is {thresholds.age:.0f} s"
        alerts.append(Alert("outbox", "oldest", detail))
    if depth.set_aside:
        alerts.append(Alert("outbox", "set-aside", f"Kafka refused {depth.set_aside} rows: streams outbox list"))
    return alerts


def celery_alerts(lengths: Mapping[str, int], unread: Sequence[str], thresholds: Thresholds) -> list[Alert]:
    """Return the alerts about the platform's Celery queues.

    Args:
        lengths: Queue → its tasks.
        unread: The queues that no worker reads. One task there waits for ever.
        thresholds: The limits.
    """
    alerts = []
    for queue, length in lengths.items():
        if queue in unread and length:
            alerts.append(Alert("celery-queue", queue, f"{length} tasks wait, and no worker reads this queue"))
        elif length >= thresholds.lag:
            alerts.append(Alert("celery-queue", queue, f"{length} tasks wait, the limit is {thresholds.lag}"))
    return alerts


def pair_alerts(pairs: Iterable[DeadLetterPair]) -> list[Alert]:
    """Return the alerts about handlers and types of errors that have dead letters."""
    return [
        Alert(
            "handler-error",
            f"{pair.handler or '(unreadable record)'}:{pair.error_type}",
            f"dead letter {pair.last_id}: {pair.message[:_SHOWN]}",
        )
        for pair in pairs
    ]
