"""What `streams doctor` says about the receivers of alerts."""

import pytest

from streams.operations.doctor.mail import examine_alerts
from streams.settings import Settings


def settings_with(**values: object) -> Settings:
    return Settings.model_validate(values)


def test_no_receiver_is_no_finding() -> None:
    assert examine_alerts(settings_with()) == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"alert_emails": "a@example.com"}, "STREAMS_ALERT_EMAILS"),
        ({"alert_webhook_url": "https://hooks.example.com/x"}, "STREAMS_ALERT_WEBHOOK_URL"),
    ],
)
def test_receivers_without_a_check_are_told(values: dict[str, object], named: str) -> None:
    (found,) = examine_alerts(settings_with(**values))
    assert found.state == "warning"
    assert named in found.text
    assert "STREAMS_DEAD_LETTER_ALERTS_ENABLED" in found.remedy


def test_addresses_without_a_mail_service_are_told() -> None:
    (found,) = examine_alerts(settings_with(alert_emails="a@example.com", dead_letter_alerts_enabled=True))
    assert (found.state, found.remedy) == ("warning", "set STREAMS_MAIL_TYPE")


def test_a_webhook_needs_no_mail_service() -> None:
    (found,) = examine_alerts(
        settings_with(alert_webhook_url="https://hooks.example.com/x", queue_monitor_enabled=True)
    )
    assert found.state == "ok"
