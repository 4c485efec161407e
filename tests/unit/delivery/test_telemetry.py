"""Reports about deliveries: what they report is committed, so a report must not undo or repeat it."""

from datetime import datetime

import pytest

from streams.delivery.dead_letter import DeadLetterInfo, UnreadableRecord
from streams.delivery.errors import Reason
from streams.delivery.telemetry import Telemetry
from streams.observability.error_text import ErrorText
from streams.observability.metrics import REGISTRY, UNKNOWN
from tests.support.factories import CATALOGUE, a_delivery, a_record

TELEMETRY = Telemetry("group", CATALOGUE, {"clean-document"})


def dead_letters() -> dict[tuple[str, str, str], float]:
    """Return the counted dead letters by topic, handler and reason."""
    return {
        (sample.labels["topic"], sample.labels["handler"], sample.labels["reason"]): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "streams_dead_letters_total"
    }


def report(topic: str, handler: str | None) -> None:
    """Report the dead letter of a record whose headers name this topic and this handler."""
    error = ErrorText("UnknownHandler", "no such handler", "")
    info = DeadLetterInfo(Reason.UNKNOWN_HANDLER, error, 0, 0, 0, "group", handler=handler)
    TELEMETRY.unreadable(UnreadableRecord(a_record(), topic, info.reason, error, handler=handler), info)


@pytest.mark.requirement("Faults of others", "R2: a report that fails changes nothing about its delivery")
def test_a_report_never_raises() -> None:
    """A time without an offset, as a foreign schema may have it, has no age."""
    delivery = a_delivery()
    delivery.event = delivery.event.model_copy(update={"occurred_at": datetime(2026, 1, 1)})  # noqa: DTZ001 - the fault
    TELEMETRY.succeeded([delivery], 0.0, 0.1, 0.2)


@pytest.mark.requirement("Faults of others", "a forged record adds no value to a label of the metrics")
def test_names_from_headers_are_no_label_values() -> None:
    """A hundred forged records name a hundred handlers and topics. They are counted in two series."""
    before = dead_letters()
    for number in range(100):
        report(f"forged.topic-{number}", f"forged-handler-{number}")
        report("document.deleted", f"forged-handler-{number}")
    counted = {labels: value - before.get(labels, 0) for labels, value in dead_letters().items()}
    assert {labels: value for labels, value in counted.items() if value} == {
        (UNKNOWN, UNKNOWN, "unknown-handler"): 100,
        ("document.deleted", UNKNOWN, "unknown-handler"): 100,
    }


@pytest.mark.parametrize("handler", ["clean-document", None])
def test_known_names_are_label_values(handler: str | None) -> None:
    """A declared handler has its name. Without a handler the value is empty."""
    labels = ("document.deleted", handler or "", "unknown-handler")
    before = dead_letters().get(labels, 0)
    report("document.deleted", handler)
    assert dead_letters()[labels] == before + 1
