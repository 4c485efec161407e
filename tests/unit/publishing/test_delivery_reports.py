"""A delivery report without an offset: the record is sent once more. If that does not help, the event has failed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from streams.publishing.delivery_reports import Progress, send_again
from streams.transport.kafka.delivery_reports import NOT_STORED

HEADERS = (("ce_id", b"1"),)


@dataclass
class Reported:
    """A message as the client's report has it: without headers."""

    place: int | None

    def topic(self) -> str:
        return "orders"

    def partition(self) -> int:
        return 3

    def offset(self) -> int | None:
        return self.place

    def key(self) -> bytes:
        return b"k"

    def value(self) -> bytes:
        return b"v"


@dataclass
class Client:
    refusal: Exception | None = None
    sent: list[tuple[Any, ...]] = field(default_factory=list)
    on_delivery: Callable[..., None] | None = None

    def produce(self, *record: object, on_delivery: Callable[..., None], **rest: object) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append((*record, rest))
        self.on_delivery = on_delivery


def again(client: Client, outcomes: list[KafkaError | None]) -> None:
    report = lambda error, _: outcomes.append(error)  # noqa: E731 - short
    send_again(client, HEADERS, Reported(None), report)  # type: ignore[arg-type]  # a fake client and message


def test_a_report_without_an_offset_is_not_counted() -> None:
    """The event stays in flight."""
    progress = Progress()
    progress.sent = 2
    progress.report(None, Reported(0))  # type: ignore[arg-type]  # a fake message
    progress.report(None, Reported(None))  # type: ignore[arg-type]  # as above
    assert (progress.acknowledged, progress.failed, progress.in_flight, len(progress.not_stored)) == (1, 0, 1, 1)


def test_the_same_record_is_sent_to_the_same_partition() -> None:
    client, outcomes = Client(), list[KafkaError | None]()
    again(client, outcomes)
    assert client.sent == [("orders", b"v", b"k", {"partition": 3, "headers": list(HEADERS)})]
    assert outcomes == []
    assert client.on_delivery is not None
    client.on_delivery(None, Reported(7))
    assert outcomes == [None]


def test_a_second_report_without_an_offset_is_an_error() -> None:
    client, outcomes = Client(), list[KafkaError | None]()
    again(client, outcomes)
    assert client.on_delivery is not None
    client.on_delivery(None, Reported(None))
    assert outcomes == [NOT_STORED]


def test_a_full_queue_is_an_error() -> None:
    outcomes: list[KafkaError | None] = []
    again(Client(BufferError()), outcomes)
    assert outcomes == [NOT_STORED]
