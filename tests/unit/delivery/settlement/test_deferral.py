"""Deferred batches: one record that cannot be built holds up no other."""

from collections.abc import Iterable

import pytest

from streams.delivery.scheduling.retry_tiers import RetryTiers
from streams.delivery.settlement import deferral
from streams.delivery.settlement.deferral import DeferredBatch
from streams.delivery.settlement.records import retry_record
from streams.transport.kafka.records import NewRecord
from tests.support.factories import CATALOGUE, a_delivery


class Sender:
    """A producer that accepts every record."""

    def __init__(self) -> None:
        self.sent: list[NewRecord] = []

    async def send_all(self, records: Iterable[NewRecord]) -> "Sender":
        self.taken = list(records)
        return self

    def __await__(self):  # type: ignore[no-untyped-def]  # noqa: ANN204 - as an awaitable of outcomes
        self.sent += self.taken
        return [None for _ in self.taken]
        yield


@pytest.mark.requirement("Faults of others", "R2: whatever building the event raises is `validation`")
async def test_a_record_that_cannot_be_built_is_settled_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    poison, healthy = a_delivery("poison", offset=0), a_delivery("healthy", offset=1)

    def build(delivery, *rest):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202 - as `retry_record`
        if delivery is poison:
            raise RecursionError
        return retry_record(delivery, *rest)

    monkeypatch.setattr(deferral, "retry_record", build)
    sender = Sender()
    batch = DeferredBatch([poison, healthy], RetryTiers.of(CATALOGUE, "low"))
    await batch.send(sender)  # type: ignore[arg-type]  # as the producer
    assert (batch.refused, batch.sent, batch.unsent) == ([poison], [healthy], [])
    assert [record.key for record in sender.sent] == [b"healthy"]
