"""Reports about deliveries: what they report is committed, so a report must not undo or repeat it."""

from datetime import datetime

import pytest

from streams.delivery.telemetry import Telemetry
from tests.support.factories import a_delivery


@pytest.mark.requirement("Faults of others", "R2: a report that fails changes nothing about its delivery")
def test_a_report_never_raises() -> None:
    """A time without an offset, as a foreign schema may have it, has no age."""
    delivery = a_delivery()
    delivery.event = delivery.event.model_copy(update={"occurred_at": datetime(2026, 1, 1)})  # noqa: DTZ001 - the fault
    Telemetry("group").succeeded([delivery], 0.1)
