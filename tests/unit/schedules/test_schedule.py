"""A schedule that cannot run is refused with one line that begins with the name of the field."""

from dataclasses import replace

import pytest

from streams.durations import format_duration
from streams.runtime.schedules import handlers_with_rows
from streams.schedules.defaults import default_schedules
from streams.schedules.schedule import Schedule, ScheduleError, build_event, check_event, check_times
from streams.schedules.slots import next_slot
from streams.settings import Settings
from tests.support.factories import CATALOGUE, a_handler

GOOD = Schedule(
    "nightly",
    "document.deleted",
    {"document_id": "d1", "dataset_id": "s1", "doc_form": "text_model"},
    cron="0 2 * * *",
    timezone="Europe/Berlin",
)
HANDLED = handlers_with_rows(CATALOGUE, [a_handler()])


def check(schedule: Schedule) -> None:
    check_times(schedule)
    check_event(schedule, CATALOGUE, HANDLED)


def test_a_good_schedule_passes() -> None:
    check(GOOD)
    assert build_event(GOOD, CATALOGUE).event_id != build_event(GOOD, CATALOGUE).event_id


@pytest.mark.requirement("Schedules", "bad input is refused with one line that names the field")
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "No Name"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"cron": None}, "cron"),
        ({"every": 60.0}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "* * * *"}, "cron"),
        ({"cron": "* * * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "x" * 10_000}, "cron"),
        ({"cron": None, "every": 0.5}, "every"),
        ({"cron": None, "every": float("nan")}, "every"),
        ({"timezone": "Europe/Nowhere"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"timezone": "a\x00b"}, "timezone"),
        ({"overlap": "sometimes"}, "overlap"),
        ({"catch_up": -1.0}, "catch_up"),
        ({"jitter": float("inf")}, "jitter"),
        ({"topic": "no.such"}, "event"),
        ({"topic": "app.created"}, "event"),
        ({"topic": "mail.code-requested"}, "event"),
        ({"args": {}}, "args.document_id"),
        ({"args": {**GOOD.args, "typo": 1}}, "args.typo"),
        ({"args": {**GOOD.args, "document_id": 7}}, "args.document_id"),
        ({"args": {**GOOD.args, "event_id": "x"}}, "args.event_id"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        check(replace(GOOD, **changes))  # type: ignore[arg-type]  # values of every kind are tried
    message = str(refused.value)
    assert message.startswith(f"{field}: ")
    assert message.isprintable()
    assert len(message) < 400


def test_a_handler_without_rows_in_the_ledger_does_not_count() -> None:
    """Nothing would ever say that its run has ended."""
    handled = handlers_with_rows(CATALOGUE, [a_handler(ledger=False)])
    with pytest.raises(ScheduleError, match=r"^event: "):
        check_event(GOOD, CATALOGUE, handled)


@pytest.mark.requirement("Schedules", "every schedule of the platform has a setting of its own, with its default")
def test_the_defaults_are_those_of_the_platform() -> None:
    found = {one.name: one for one in default_schedules(Settings())}
    times = {name: one.cron or format_duration(one.every or 0) for name, one in found.items()}
    assert times == {
        "clean-embedding-cache": "0 2 * * *",
        "clean-unused-datasets": "0 3 * * *",
        "clean-messages": "0 4 * * *",
        "clean-workflow-runlogs": "0 2 * * *",
        "queue-monitor": "30m",
        "dead-letter-alerts": "30s",
        "check-upgradable-plugin": "*/15 * * * *",
        "mail-clean-document-notify": "0 10 * * 1",
        "tidb-serverless-create": "0 * * * *",
        "tidb-serverless-status": "*/10 * * * *",
    }
    assert not any(one.enabled for one in found.values())
    for one in found.values():
        check_times(one)


def test_nightly_clean_ups_follow_the_days_and_the_zone_of_the_settings() -> None:
    settings = Settings(schedule_nightly_days=3, schedule_timezone="Asia/Shanghai", clean_messages_enabled=True)
    found = {one.name: one for one in default_schedules(settings)}
    assert found["clean-messages"].cron == "0 4 */3 * *"
    assert found["clean-messages"].enabled
    assert found["clean-workflow-runlogs"].cron == "0 2 * * *"
    assert {found[name].timezone for name in ("clean-messages", "mail-clean-document-notify")} == {"Asia/Shanghai"}
    assert found["check-upgradable-plugin"].catch_up == 86_400


def test_plugins_are_checked_by_default_where_the_platform_has_a_marketplace() -> None:
    settings = Settings(marketplace_url="http://127.0.0.1:1", plugin_daemon_url="http://127.0.0.1:2")
    assert [one.name for one in default_schedules(settings) if one.enabled] == ["check-upgradable-plugin"]


def test_a_slot_of_a_zone_without_a_file_of_the_machine_is_found() -> None:
    """The zones come with a package, since many containers have none."""
    assert next_slot(GOOD, next_slot(GOOD, build_event(GOOD, CATALOGUE).occurred_at))
