"""The overview that `streams top` shows: pools and topics with rates, and what the database knows. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from streams.operations.monitoring.sample import Breaker, DatabaseSample, Death, KafkaSample, PausedItem, ScheduleState
from streams.operations.topic_lag import LagSnapshot, TopicLag, topic_lags
from streams.settings import POOL_NAMES, PoolName
from streams.topics import Catalogue


@dataclass(frozen=True, slots=True)
class TopicRow:
    """An event topic or a retry tier, and how its pool consumes it."""

    topic: str
    pool: PoolName
    tier: bool
    """Whether it is a retry tier."""
    lag: int
    oldest: datetime | None
    """The timestamp of the oldest unsettled record. None: there is none, or it is unknown."""
    published_per_second: float | None
    """None, like `settled_per_second`: there is no earlier sample."""
    settled_per_second: float | None


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool, over all its event topics."""

    pool: PoolName
    members: int | None
    """Members of its consumer group. None: unknown."""
    lag: int
    oldest: datetime | None
    published_per_second: float | None
    settled_per_second: float | None
    retries: int
    """Records that wait in its retry tiers."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """The rows of the outbox."""

    waiting: int
    oldest: datetime | None
    set_aside: int


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of the pipeline at one moment. What comes from a source that does not answer is None."""

    at: datetime
    errors: Mapping[str, str]
    """Why a source has no figures, by its name."""
    brokers: int | None = None
    pools: Sequence[PoolRow] | None = None
    topics: Sequence[TopicRow] | None = None
    """The topics with the most lag first, then those with the highest rates."""
    outbox: Outbox | None = None
    dead_letters: int | None = None
    """Dead letters that were not replayed."""
    breakers: Sequence[Breaker] | None = None
    paused: Sequence[PausedItem] | None = None
    schedules: Sequence[ScheduleState] | None = None
    deaths: Sequence[Death] | None = None
    """The newest dead letters."""

    def as_json(self) -> dict[str, object]:
        """Return the fields under their own names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class KafkaSamples:
    """The last sample of Kafka and the one before it, for rates."""

    last: KafkaSample | None = None
    before: KafkaSample | None = None

    def followed_by(self, sample: KafkaSample | None) -> "KafkaSamples":
        """Return the samples after a reading. A failed one (None) drops both: a rate over a gap would be wrong."""
        if sample is None:
            return KafkaSamples()
        return self if sample is self.last else KafkaSamples(sample, self.last)


def build_overview(
    catalogue: Catalogue, kafka: KafkaSamples, database: DatabaseSample | None, errors: Mapping[str, str], at: datetime
) -> Overview:
    """Return the overview of the last samples.

    Args:
        catalogue: The topics and pools.
        kafka: The samples of Kafka.
        database: The sample of the database. None: it does not answer.
        errors: Why a source has no sample, by its name.
        at: The present time.
    """
    topics = None if kafka.last is None else _topic_rows(catalogue, kafka.last, kafka.before)
    return Overview(
        at=at,
        errors=errors,
        brokers=None if kafka.last is None else kafka.last.brokers,
        pools=None if kafka.last is None or topics is None else _pool_rows(catalogue, kafka.last, topics),
        topics=None if topics is None else sorted(topics, key=_busiest_first),
        outbox=None if database is None else _outbox(database),
        dead_letters=None if database is None else sum(one.number for one in database.dead_letters),
        breakers=None if database is None else database.breakers,
        paused=None if database is None else database.paused,
        schedules=None if database is None else database.schedules,
        deaths=None if database is None else database.deaths,
    )


def _topic_rows(catalogue: Catalogue, last: KafkaSample, before: KafkaSample | None) -> list[TopicRow]:
    pools = {catalogue.group(pool): pool for pool in POOL_NAMES}
    lags = topic_lags(
        LagSnapshot(last.at, last.lags),
        None if before is None else LagSnapshot(before.at, before.lags),
        {place: datetime.fromtimestamp(at, tz=UTC) for place, at in last.oldest.items() if at is not None},
    )
    return [_topic_row(catalogue, pools[lag.consumergroup], lag) for lag in lags]


def _topic_row(catalogue: Catalogue, pool: PoolName, lag: TopicLag) -> TopicRow:
    return TopicRow(
        topic=lag.topic,
        pool=pool,
        tier=lag.topic.startswith(catalogue.tier_prefix(pool)),
        lag=lag.lag,
        oldest=lag.oldest,
        published_per_second=lag.published_per_second,
        settled_per_second=lag.settled_per_second,
    )


def _pool_rows(catalogue: Catalogue, sample: KafkaSample, topics: Sequence[TopicRow]) -> list[PoolRow]:
    rows = []
    for pool in POOL_NAMES:
        consumed = [row for row in topics if row.pool == pool]
        if not consumed:
            continue
        events = [row for row in consumed if not row.tier]
        rows.append(
            PoolRow(
                pool=pool,
                members=sample.members.get(catalogue.group(pool)),
                lag=sum(row.lag for row in events),
                oldest=min((row.oldest for row in events if row.oldest is not None), default=None),
                published_per_second=_sum([row.published_per_second for row in events]),
                settled_per_second=_sum([row.settled_per_second for row in events]),
                retries=sum(row.lag for row in consumed if row.tier),
            )
        )
    return rows


def _outbox(sample: DatabaseSample) -> Outbox:
    depth = sample.outbox
    oldest = None if depth.oldest is None else datetime.fromtimestamp(depth.oldest, tz=UTC)
    return Outbox(depth.waiting, oldest, depth.set_aside)


def _busiest_first(row: TopicRow) -> tuple[int, float, str]:
    return -row.lag, -((row.published_per_second or 0.0) + (row.settled_per_second or 0.0)), row.topic


def _sum(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None
