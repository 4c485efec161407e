"""Which observations are alerts, and what a notice says."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import ValidationError

from streams.agents.built_in import HANDLERS
from streams.observability.metrics import Lag
from streams.observability.outbox_metrics import OutboxDepth
from streams.operations.alerts import monitoring
from streams.operations.alerts.alert import Alert, Change
from streams.operations.alerts.celery_queues import build_celery_queues
from streams.operations.alerts.monitoring import build_monitoring, tier_delays
from streams.operations.alerts.notices import mail_about, webhook_body
from streams.operations.alerts.observations import DeadLetterPair
from streams.operations.alerts.rules import (
    Thresholds,
    celery_alerts,
    depth_alerts,
    lag_alerts,
    outbox_alerts,
    pair_alerts,
)
from streams.operations.lag import LagReading
from streams.operations.topic_lag import TopicLag
from streams.runtime.declarations import topics_to_read
from streams.settings import Settings, SettingsError
from streams.topics import BUILT_IN, Catalogue

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = Thresholds(lag=200, age=900, dead_letters=2)
SECTION = "Schedules"


def waiting(records: int, seconds: float | None, topic: str = "t") -> TopicLag:
    oldest = None if seconds is None else NOW - timedelta(seconds=seconds)
    return TopicLag("g", topic, records, oldest, None, None, 1)


@pytest.mark.requirement(SECTION, "queue-monitor: lag and age of every group and topic, against thresholds")
@pytest.mark.parametrize(
    ("lag", "kinds"),
    [
        (waiting(0, None), []),
        (waiting(199, 899), []),
        (waiting(200, 1), ["lag"]),
        (waiting(1, 900), ["age"]),
        (waiting(500, 5000), ["lag", "age"]),
        (waiting(1, None), []),
    ],
)
def test_lag_and_age(lag: TopicLag, kinds: list[str]) -> None:
    assert [alert.kind for alert in lag_alerts([lag], {}, NOW, LIMITS)] == kinds


def test_records_of_a_retry_topic_may_wait_for_its_delay() -> None:
    """A retry in an hour is no alert after half an hour."""
    catalogue = Catalogue(BUILT_IN, Settings())
    tier, former = catalogue.tier("low", 3600), catalogue.tier("low", 1800)
    delays = tier_delays(catalogue, [tier, former, "t"])
    assert (delays[tier], delays[former], delays.get("t")) == (3600, 1800, None)
    assert lag_alerts([waiting(1, 4000, tier), waiting(1, 2000, former)], delays, NOW, LIMITS) == []
    [alert] = lag_alerts([waiting(1, 4500, tier)], delays, NOW, LIMITS)
    assert alert.name == f"age:g:{tier}"


@pytest.mark.requirement(
    SECTION, "queue-monitor: a topic without a handler is no alert, since its events wait on purpose"
)
def test_a_topic_without_a_handler_is_no_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lag grows until its retention deletes its records. A topic beside it that a handler reads is an alert."""
    catalogue = Catalogue(BUILT_IN, Settings())
    names = ("tenant.created", "mail.requested", catalogue.tier("high", 0.0))
    lags = [Lag("streams.high", name, 0, current_offset=0, end_offset=500, lag=500) for name in names]
    asked: list[str] = []

    def oldest_records(_: Settings, lags: list[Lag]) -> dict[tuple[str, int], datetime]:
        asked.extend(lag.topic for lag in lags)
        return {(lag.topic, lag.partition): NOW - timedelta(days=6) for lag in lags}

    monkeypatch.setattr(monitoring, "group_lag", lambda *_: LagReading(lags))
    monkeypatch.setattr(monitoring, "oldest_records", oldest_records)
    found = build_monitoring(Settings(), catalogue, topics_to_read(catalogue, HANDLERS)).read_lags()
    assert {alert.name.partition(":")[2] for alert in lag_alerts(found.lags, {}, NOW, LIMITS)} == {
        f"streams.high:{name}" for name in names[1:]
    }
    assert asked == list(names[1:])


@pytest.mark.requirement(SECTION, "queue-monitor: the health of the outbox")
@pytest.mark.parametrize(
    ("depth", "subjects"),
    [
        (OutboxDepth(waiting=199, set_aside=0, oldest=NOW.timestamp() - 899), []),
        (OutboxDepth(waiting=0, set_aside=0, oldest=None), []),
        (OutboxDepth(waiting=200, set_aside=0, oldest=NOW.timestamp() - 1), ["waiting"]),
        (OutboxDepth(waiting=1, set_aside=1, oldest=NOW.timestamp() - 900), ["oldest", "set-aside"]),
    ],
)
def test_rows_of_the_outbox(depth: OutboxDepth, subjects: list[str]) -> None:
    assert [alert.subject for alert in outbox_alerts(depth, NOW, LIMITS)] == subjects


def test_dead_letters_of_a_dlq() -> None:
    alerts = depth_alerts({"a.dlq": 1, "b.dlq": 2, "c.dlq": 50}, 50, LIMITS)
    assert [(one.subject, one.detail) for one in alerts] == [
        ("b.dlq", "2 dead letters were not replayed"),
        ("c.dlq", "50 or more dead letters were not replayed"),
    ]


@pytest.mark.requirement(SECTION, "queue-monitor: during a switch the platform's Celery queues too, also unread ones")
def test_celery_queues() -> None:
    """One task in a queue that no worker reads waits for ever."""
    alerts = celery_alerts(
        {"dataset": 199, "mail": 200, "priority_pipeline": 1, "celery": 0}, ["priority_pipeline", "celery"], LIMITS
    )
    assert [one.name for one in alerts] == ["celery-queue:mail", "celery-queue:priority_pipeline"]


def test_a_wrong_webhook_is_refused_without_its_token() -> None:
    with pytest.raises(ValidationError, match="this is not a URL") as refused:
        Settings.model_validate({"alert_webhook_url": "hooks.example/T0K3N"})
    assert "T0K3N" not in str(refused.value.errors(include_input=False))


def test_a_wrong_broker_url_names_its_setting() -> None:
    with pytest.raises(SettingsError, match="STREAMS_CELERY_BROKER_URL") as refused:
        build_celery_queues(Settings.model_validate({"celery_broker_url": "amqp://user:secret@host"}))
    assert "secret" not in str(refused.value)
    assert "STREAMS_REDIS_URL" not in str(refused.value)


def test_the_alert_of_a_record_without_a_handler() -> None:
    [alert] = pair_alerts([DeadLetterPair("", "streams.codec.DecodeError", "t.dlq:0:1", "x" * 999)])
    assert alert == Alert(
        "handler-error", "(unreadable record):streams.codec.DecodeError", f"dead letter t.dlq:0:1: {'x' * 300}"
    )


def change(state: str = "raised", detail: str = "201 records wait") -> Change:
    recovered = NOW if state == "recovered" else None
    return Change(state, "lag:g:t", "lag", detail, NOW, recovered)  # type: ignore[arg-type]  # a state


def test_the_mail_of_one_and_of_several_changes() -> None:
    one = mail_about([change()], "streams", ["ops@acme.example"])
    assert (one.kind, one.to, one.subject) == ("inner", ["ops@acme.example"], "[streams] raised: lag:g:t")
    assert one.body == "<p>raised: lag:g:t: 201 records wait (since 2026-03-01 12:00:00 UTC)</p>"
    several = mail_about([change(), change("recovered"), change("recovered")], "streams", ["a@b.example"])
    assert several.subject == "[streams] 1 alerts raised, 2 recovered"


def test_a_detail_is_never_a_template() -> None:
    """A mail of the kind inner is rendered, and an error's message may say anything."""
    mail = mail_about([change(detail="{{ 7 * 7 }} {% x %} <b>")], "streams", ["a@b.example"])
    assert "&#123;&#123; 7 * 7 }} &#123;% x %} &lt;b&gt;" in str(mail.body)


def test_the_body_for_the_webhook() -> None:
    check = uuid4()
    body = webhook_body(change("recovered"), "streams", check)
    assert body == webhook_body(change("recovered"), "streams", check)
    assert body.pop("id") != webhook_body(change(), "streams", check)["id"]
    assert body == {
        "application": "streams",
        "name": "lag:g:t",
        "kind": "lag",
        "state": "recovered",
        "detail": "201 records wait",
        "raised_at": "2026-03-01T12:00:00+00:00",
        "recovered_at": "2026-03-01T12:00:00+00:00",
    }
