"""The lag of whole topics, and how fast it changes, from looks at their partitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.observability.metrics import Lag


@dataclass(frozen=True, slots=True)
class Look:
    """What Kafka said at one time."""

    at: float
    """Seconds of a clock that only goes forward."""
    lags: Sequence[Lag]


@dataclass(frozen=True, slots=True)
class TopicLag:
    """How far a group is behind in a topic."""

    consumergroup: str
    topic: str
    lag: int
    """Records still to be settled."""
    oldest: datetime | None
    """When the oldest of them came; None: there is none, or it is not known."""
    settled_per_second: float | None
    """Offsets that the group has committed, from the look before to this one; None: there was no look before."""
    published_per_second: float | None
    """Records that came in the same time."""
    partitions: int
    """How many partitions have lag."""


def topic_lags(
    look: Look, before: Look | None = None, oldest: Mapping[tuple[str, int], datetime] | None = None
) -> list[TopicLag]:
    """The lag of each group in each topic, in the order of the look.

    Args:
        look: The lags now.
        before: An earlier look, for the rates.
        oldest: When the oldest unsettled record of a topic's partition came.
    """
    grouped: dict[tuple[str, str], list[Lag]] = {}
    for lag in look.lags:
        grouped.setdefault((lag.consumergroup, lag.topic), []).append(lag)
    earlier = {} if before is None else {(lag.consumergroup, lag.topic, lag.partition): lag for lag in before.lags}
    seconds = 0.0 if before is None else look.at - before.at
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
    """How far offsets have moved in a second; None where no partition was looked at before.

    An offset that went back (a reset of the group, a topic made anew) counts as none: nothing was settled by it.
    """
    moved = [
        max(0, offset - (was.current_offset if settled else was.end_offset))
        for lag, offset in now
        if (was := earlier.get((lag.consumergroup, lag.topic, lag.partition))) is not None
    ]
    return sum(moved) / seconds if moved and seconds > 0 else None
