"""A topic with another id is found, and nothing waits for the brokers."""

from concurrent.futures import Future
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.settings import Settings
from streams.transport.kafka.partitions import topic_ids
from streams.transport.kafka.partitions.topic_ids import CHECK_SECONDS, FORGET_SECONDS, SILENCE_SECONDS, TopicIds
from tests.support.processes.worker_process import free_port, wait_for


class Described:
    def __init__(self, topic_id: str) -> None:
        self.topic_id = topic_id


class Admin:
    """Answers with these ids when `answer` is called."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = {"a": "1"}
        self.requests: list[dict[str, Future[Described]]] = []
        self.refreshed = 0
        self.polls = 0
        self.reachable = True

    def poll(self, timeout: float) -> None:
        assert timeout == 0
        self.polls += 1

    def describe_topics(self, topics: TopicCollection, request_timeout: float) -> dict[str, Future[Described]]:
        assert request_timeout > 0
        self.requests.append({name: Future() for name in self.ids})
        assert topics is not None
        return self.requests[-1]

    def list_topics(self, timeout: float) -> None:
        assert 0 < timeout < 1
        if not self.reachable:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        self.refreshed += 1

    def time_out(self) -> None:
        """Fail the last request as librdkafka does whose controller is down."""
        for future in self.requests[-1].values():
            future.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))

    def answer(self) -> None:
        for name, future in self.requests[-1].items():
            if name in self.ids:
                future.set_result(Described(self.ids[name]))
            else:
                future.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> Admin:
    made = Admin()
    monkeypatch.setattr(topic_ids, "AdminClient", lambda *_, **__: made)
    return made


@pytest.mark.requirement("Faults of others", "c03: a topic is deleted and created again under a running worker")
def test_a_topic_with_another_id_is_found_once(admin: Admin) -> None:
    """The id is requested at once for a new topic, then now and then. A change is reported one time."""
    ids = TopicIds(Settings())
    assert ids.changed(0.0, {"a"}) == []
    admin.answer()
    assert ids.changed(1.0, {"a"}) == []
    assert len(admin.requests) == 1
    admin.ids["a"] = "2"
    assert ids.changed(CHECK_SECONDS, {"a"}) == []
    assert ids.changed(CHECK_SECONDS + 1, {"a"}) == []  # no answer yet
    admin.answer()
    assert ids.changed(CHECK_SECONDS + 2, {"a"}) == ["a"]
    assert ids.changed(CHECK_SECONDS + 3, {"a"}) == []


def test_a_topic_that_is_not_read_for_long_is_forgotten(admin: Admin) -> None:
    """Another worker has read it in the meantime, so its id says nothing. A short rebalance changes nothing."""
    ids = TopicIds(Settings())
    ids.changed(0.0, {"a"})
    admin.answer()
    ids.changed(1.0, {"a"})
    admin.ids["a"] = "2"
    ids.changed(2.0, set())
    ids.changed(3.0 + FORGET_SECONDS, set())
    ids.changed(4.0 + FORGET_SECONDS, {"a"})
    admin.answer()
    assert ids.changed(5.0 + FORGET_SECONDS, {"a"}) == []


def test_a_topic_that_does_not_exist_now_keeps_its_id(admin: Admin) -> None:
    """It is deleted, and has another id when it is created again."""
    ids = TopicIds(Settings())
    ids.changed(0.0, {"a"})
    admin.answer()
    ids.changed(1.0, {"a"})
    ids.changed(CHECK_SECONDS, {"a"})
    del admin.ids["a"]
    admin.answer()
    assert ids.changed(CHECK_SECONDS + 1, {"a"}) == []
    admin.ids["a"] = "2"
    ids.changed(2 * CHECK_SECONDS, {"a"})
    admin.answer()
    assert ids.changed(2 * CHECK_SECONDS + 1, {"a"}) == ["a"]


def test_each_call_polls_the_client(admin: Admin) -> None:
    """Also one without topics: the client writes log lines while no broker answers."""
    ids = TopicIds(Settings())
    ids.changed(0.0, set())
    ids.changed(1.0, {"a"})
    assert admin.polls == 0
    ids.changed(2.0, {"a"})
    ids.changed(3.0, set())
    assert admin.polls == 2


def test_what_the_client_logs_does_not_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens at the address, so the client logs a line for each try to connect."""
    made: list[Any] = []  # the stubs leave out the length

    def make(config: dict[str, Any], logger: object) -> Any:  # noqa: ANN401 - as above
        made.append(AdminClient(config, logger=logger))
        return made[0]

    monkeypatch.setattr(topic_ids, "AdminClient", make)
    monkeypatch.setattr(topic_ids, "client_logger", Mock())
    ids = TopicIds(Settings(kafka_bootstrap_servers=f"127.0.0.1:{free_port()}"))
    ids.changed(0.0, {"a"})
    wait_for(lambda: len(made[0]) > 2, "the client has log lines", 10)
    # The next line may come while the ones before it are read.
    wait_for(lambda: ids.changed(1.0, {"a"}) == [] and not made[0], "the client has none left", 10)


@pytest.mark.requirement("Faults and operations", "one of three brokers killed: no thread of a worker is busy")
def test_after_a_request_without_an_answer_the_client_learns_which_brokers_run(admin: Admin) -> None:
    """It is asked later, not at once, and with the present controller. A change in between is found."""
    ids = TopicIds(Settings())
    ids.changed(0.0, {"a"})
    admin.answer()
    ids.changed(CHECK_SECONDS, {"a"})
    admin.time_out()
    ids.changed(CHECK_SECONDS + 1, {"a", "b"})
    assert (len(admin.requests), admin.refreshed) == (2, 0)
    admin.reachable = False
    ids.changed(2 * CHECK_SECONDS, {"a"})
    assert len(admin.requests) == 2
    admin.reachable = True
    admin.ids["a"] = "2"
    ids.changed(3 * CHECK_SECONDS, {"a"})
    admin.answer()
    assert ids.changed(3 * CHECK_SECONDS + 1, {"a"}) == ["a"]
    assert (len(admin.requests), admin.refreshed) == (3, 1)
    ids.changed(4 * CHECK_SECONDS, {"a"})
    assert (len(admin.requests), admin.refreshed) == (4, 1)


def test_a_long_silence_is_one_warning(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    """Slow brokers and absent ones alike. After an answer, the next silence is told of again."""
    ids = TopicIds(Settings())

    def wait_in_silence(since: float) -> None:
        for turn in range(2 * round(SILENCE_SECONDS / CHECK_SECONDS)):
            admin.reachable = turn % 2 == 0
            ids.changed(since + turn * CHECK_SECONDS, {"a"})
            if not all(answer.done() for answer in admin.requests[-1].values()):
                admin.time_out()

    wait_in_silence(0.0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "for the ids of topics for 60 s" in caplog.text
    admin.reachable = True
    ids.changed(1000.0, {"a"})
    admin.answer()
    ids.changed(1001.0, {"a"})
    wait_in_silence(2000.0)
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
