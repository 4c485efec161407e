"""The lag of whole topics and its rates of change, from snapshots of the partitions' lag."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.observability.metrics import Lag


@dataclass(frozen=True, slots=True)
class LagSnapshot:
    """The lag of all partitions at one time."""

    at: float
    """Seconds of a monotonic clock."""
    lags: Sequence[Lag]


@dataclass(frozen=True, slots=True)
class TopicLag:
    """The lag of a consumer group on a topic."""

    consumergroup: str
    topic: str
    lag: int
    """Records that are not settled."""
    oldest: datetime | None
    """The timestamp of the oldest one. None: there is none, or it is unknown."""
    settled_per_second: float | None
    """Offsets that the group committed per second since the earlier snapshot. None: there is no earlier one."""
    published_per_second: float | None
    """Records that were published per second in the same time."""
    partitions: int
    """The number of partitions that have lag."""


def topic_lags(
    now: LagSnapshot, before: LagSnapshot | None = None, oldest: Mapping[tuple[str, int], datetime] | None = None
) -> list[TopicLag]:
    """Return the lag of each group on each topic, in the order of the snapshot.

    Args:
        now: The present snapshot.
        before: An earlier snapshot, for the rates.
        oldest: The timestamp of the oldest unsettled record by topic and partition.
    """
    grouped: dict[tuple[str, str], list[Lag]] = {}
    for lag in now.lags:
        grouped.setdefault((lag.consumergroup, lag.topic), []).append(lag)
    earlier = {} if before is None else {(lag.consumergroup, lag.topic, lag.partition): lag for lag in before.lags}
    seconds = 0.0 if before is None else now.at - before.at
    return [
        TopicLag(
            consumergroup=group,
            topic=topic,
            lag=sum(lag.lag for lag in lags),
            oldest=min((at for lag in lags if (at := (oldest or {}).get((topic, lag.partition)))), default=None),
            settled_per_second=_rate(((lag, lag.current_offset) for lag in lags), earlier, seconds, settled=True),
            published_per_second=_rate(((lag, lag.end_offset) for lag in lags), earlier, seconds, settled=False),
            partitions=sum(lag.lag > 0 for lag in lags),
        )
        for (group, topic), lags in grouped.items()
    ]


def _rate(
    now: Iterable[tuple[Lag, int]], earlier: Mapping[tuple[str, str, int], Lag], seconds: float, *, settled: bool
) -> float | None:
    """Return how far offsets advanced per second. None: the earlier snapshot has none of the partitions.

    An offset that went back (a reset of the group, a topic created again) counts as zero: it settled nothing.
    """
    moved = [
        max(0, offset - (was.current_offset if settled else was.end_offset))
        for lag, offset in now
        if (was := earlier.get((lag.consumergroup, lag.topic, lag.partition))) is not None
    ]
    return sum(moved) / seconds if moved and seconds > 0 else None
