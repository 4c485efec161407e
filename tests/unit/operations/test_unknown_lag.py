"""What follows from a lag that is known in part: nothing is deleted, requested or called over by missing knowledge."""

import asyncio
import threading
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import ClusterMetadata
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from schemas import DocumentIndexRequested
from streams.codec import Codec
from streams.dify.indexing.stuck import StuckDocument
from streams.observability.metrics import Lag
from streams.observability.outbox_metrics import OutboxDepth
from streams.operations.alerts import monitoring
from streams.operations.alerts.alert import Checked
from streams.operations.alerts.monitoring import Monitoring, TopicLags
from streams.operations.alerts.rules import Thresholds
from streams.operations.kafka_admin import KafkaRefusedError
from streams.operations.lag import LagReading, UnknownLag
from streams.operations.stuck_documents import StuckDocuments
from streams.operations.topic_lag import TopicLag
from streams.operations.topics import prune, tier_records
from streams.operations.topics.prune import Pruned, prune_tiers
from streams.operations.topics.tier_records import delete_settled_retries
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue
from streams.transport.kafka.errors import BrokersUnreachableError
from tests.support.kafka_records import cluster_of, described

SETTINGS = Settings()
CATALOGUE = Catalogue(BUILT_IN, SETTINGS)
GROUP, TIER = CATALOGUE.group("low"), CATALOGUE.tier("low", 1.0)
NO_LEADER = KafkaRefusedError("it has no leader now", KafkaError.LEADER_NOT_AVAILABLE)


def lag(topic: str, partition: int, current: int, end: int) -> Lag:
    return Lag(GROUP, topic, partition, current, end, end - current)


class Admin:
    """Kafka's admin client, which notes what it deletes."""

    def __init__(self, topics: tuple[str, ...] = ()) -> None:
        self.topics = topics
        self.timeout = 1.0
        self.admin = self
        self.deleted: list[object] = []

    def __call__(self, _settings: Settings) -> "Admin":
        return self

    def metadata(self) -> ClusterMetadata:
        return cluster_of([described(name, [1]) for name in self.topics])

    def delete_records(self, wanted: list[TopicPartition], **_more: float) -> dict[TopicPartition, None]:
        self.deleted += [(one.topic, one.partition, one.offset) for one in wanted]
        return dict.fromkeys(wanted)

    def delete_topics(self, names: list[str], **_more: float) -> dict[str, Future[None]]:
        self.deleted += names
        return {}

    def answer(self, _answer: object, _what: str) -> None:
        """Refuse nothing."""

    def answers(self, _futures: object, _what: str) -> list[object]:
        return []


@pytest.mark.requirement("Faults of others", "a lag that is unknown deletes no retry record and no retry topic")
def test_settled_retries_of_an_unknown_partition_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are deleted."""
    admin = Admin()
    reading = LagReading([lag(TIER, 0, 5, 9)], [UnknownLag(GROUP, TIER, 1, NO_LEADER)])
    monkeypatch.setattr(tier_records, "KafkaAdmin", admin)
    monkeypatch.setattr(tier_records, "group_lag", lambda *_given: reading)
    assert delete_settled_retries(SETTINGS, CATALOGUE) == 1
    assert admin.deleted == [(TIER, 0, 5)]


@pytest.mark.requirement("Faults of others", "a lag that is unknown deletes no retry record and no retry topic")
def test_a_former_tier_whose_lag_is_unknown_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """One has a partition without a leader, one is not in the reading at all, one has records, one is empty."""
    unled, unseen, waiting, empty = (f"{CATALOGUE.tier_prefix('low')}{seconds}s" for seconds in (7, 8, 9, 11))
    admin = Admin((unled, unseen, waiting, empty))
    lags = [lag(unled, 0, 5, 5), lag(waiting, 0, 5, 5), lag(waiting, 1, 5, 6), lag(empty, 0, 5, 5)]
    reading = LagReading(lags, [UnknownLag(GROUP, unled, 1, NO_LEADER)])
    monkeypatch.setattr(prune, "KafkaAdmin", admin)
    monkeypatch.setattr(prune, "group_lag", lambda *_given: reading)
    assert prune_tiers(SETTINGS, CATALOGUE) == Pruned((empty,), (unled, unseen, waiting))
    assert admin.deleted == [empty]


class Stuck(StuckDocuments):
    """The search for stuck documents, without a database: one document always looks stuck."""

    requested = 0

    def read_from(self, reading: LagReading) -> None:
        self._read_lag = lambda: reading

    async def _has_lease(self) -> bool:
        return True

    async def _find(self, session: AsyncSession, only: list[str] | None = None) -> list[StuckDocument]:
        del session, only
        return [cast("StuckDocument", SimpleNamespace(id="d"))]

    async def _request_again(self, ids: list[str]) -> int:
        self.requested += len(ids)
        return len(ids)


@pytest.mark.requirement("Faults and operations", "stranded documents are asked for again, without flooding")
async def test_a_document_is_not_requested_while_a_record_may_name_it() -> None:
    """A partition of another topic does not matter. One that could name it does, unknown or missing."""
    topic = CATALOGUE.of(DocumentIndexRequested).name
    search = Stuck(cast("AsyncEngine", None), SETTINGS, CATALOGUE, cast("Codec", None))
    search.read_from(LagReading([lag(topic, 0, 0, 5)], [UnknownLag(GROUP, topic, 1, NO_LEADER)]))
    with pytest.raises(KafkaRefusedError, match="no leader"):
        await search.check()
    foreign = UnknownLag(GROUP, "message.created", 0, NO_LEADER)
    search.read_from(LagReading([lag(topic, 0, 0, 5), lag(topic, 1, 5, 5)], [foreign]))
    assert await search.check() == 0
    search.read_from(LagReading([lag(topic, 1, 5, 5)], [UnknownLag(GROUP, topic, 0, NO_LEADER)]))
    with pytest.raises(KafkaRefusedError, match="no leader"):
        await search.check()
    search.read_from(LagReading([lag(topic, 1, 5, 5)]))
    assert await search.check() == 0
    search.read_from(LagReading([lag(topic, 0, 5, 5), lag(topic, 1, 5, 5)], [foreign]))
    assert await search.check() == 1
    assert search.requested == 1


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> AsyncSession:
    """A database with two dead letters of a DLQ."""

    async def depths(*_given: object) -> dict[str, int]:
        return {"a.dlq": 2}

    async def missed(*_given: object) -> list[object]:
        return []

    async def connection() -> object:
        async def run_sync(_function: object) -> OutboxDepth:
            return OutboxDepth(waiting=0, set_aside=0, oldest=None)

        return SimpleNamespace(run_sync=run_sync)

    monkeypatch.setattr(monitoring, "dead_letter_depths", depths)
    monkeypatch.setattr(monitoring, "missed_slots", missed)
    return cast("AsyncSession", SimpleNamespace(connection=connection))


def names(checked: Checked) -> list[str]:
    return sorted(alert.name for alert in checked.alerts)


def monitor(read: object) -> Monitoring:
    limits = Thresholds(lag=200, age=900, dead_letters=1)
    return Monitoring("streams", CATALOGUE, read, None, limits, 1800.0, (), None)  # type: ignore[arg-type]  # it reads


@pytest.mark.requirement("Schedules", "queue-monitor: without Kafka the other kinds are checked, and lag lasts")
@pytest.mark.parametrize("error", [BrokersUnreachableError("no broker answers"), NO_LEADER])
async def test_without_kafka_the_other_kinds_are_checked(observed: AsyncSession, error: Exception) -> None:
    def read() -> TopicLags:
        raise error

    checked = await monitor(read).check_queues(observed)
    assert names(checked) == ["dead-letters:a.dlq", "kafka:lag"]
    assert {"lag", "age"} & set(checked.kinds) == set()
    assert "kafka" in checked.kinds


async def test_a_kafka_that_hangs_holds_up_no_other_alert(
    observed: AsyncSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "KAFKA_SECONDS", 0.1)
    answer = threading.Event()

    def read() -> TopicLags:
        answer.wait(60)
        return TopicLags([])

    try:
        checked = await asyncio.wait_for(monitor(read).check_queues(observed), 30)
    finally:
        answer.set()
    assert names(checked) == ["dead-letters:a.dlq", "kafka:lag"]
    assert [alert.detail for alert in checked.alerts if alert.kind == "kafka"] == ["no lag was read within 0.1 s"]


@pytest.mark.requirement("Schedules", "queue-monitor: without Kafka the other kinds are checked, and lag lasts")
async def test_alerts_about_partly_unknown_topics_last(observed: AsyncSession) -> None:
    """A topic with a partition without a leader, one that cannot be read at all, and one without its oldest record."""
    now = datetime.now(tz=UTC)
    lags = [
        TopicLag(GROUP, "partly", 1, now, None, None, 1),
        TopicLag(GROUP, "known", 300, now - timedelta(hours=1), None, None, 1),
        TopicLag(GROUP, "ageless", 1, None, None, None, 1),
    ]
    unknown = [UnknownLag(GROUP, "partly", 1, NO_LEADER), UnknownLag(GROUP, "hidden", None, NO_LEADER)]
    checked = await monitor(lambda: TopicLags(lags, unknown)).check_queues(observed)
    assert names(checked) == [f"age:{GROUP}:known", "dead-letters:a.dlq", "kafka:lag", f"lag:{GROUP}:known"]
    assert {"lag", "age", "kafka"} <= set(checked.kinds)
    assert set(checked.unknown) == {
        *(f"{kind}:{GROUP}:{topic}" for kind in ("lag", "age") for topic in ("partly", "hidden")),
        f"age:{GROUP}:ageless",
    }
    whole = await monitor(lambda: TopicLags([])).check_queues(observed)
    assert (names(whole), set(whole.unknown)) == (["dead-letters:a.dlq"], set())
