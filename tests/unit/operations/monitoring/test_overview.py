"""What `streams top` shows: rates from two samples, and nothing of a source that does not answer."""

import json
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from streams.cli.cells import to_json
from streams.cli.screen import Screen
from streams.cli.top_screen import top_lines
from streams.observability.metrics import Lag
from streams.observability.outbox_metrics import OutboxDepth
from streams.operations.monitoring.overview import KafkaSamples, Overview, build_overview
from streams.operations.monitoring.sample import (
    Breaker,
    DatabaseSample,
    Death,
    KafkaSample,
    OpenDeadLetters,
    PausedItem,
    ScheduleState,
)
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue

CATALOGUE = Catalogue(BUILT_IN, Settings())
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
TOPIC, TIER = "document.deleted", "streams.low.retry.10s"
HOSTILE = "\x1b[31mred\n"


def kafka(at: float, *, settled: int, end: int, tier: int = 0) -> KafkaSample:
    return KafkaSample(
        at=at,
        brokers=3,
        partitions=[],
        lags=[
            Lag("streams.low", TOPIC, 0, current_offset=settled, end_offset=end, lag=end - settled),
            Lag("streams.low", TIER, 0, current_offset=0, end_offset=tier, lag=tier),
            Lag("streams.high", "message.created", 0, current_offset=5, end_offset=5, lag=0),
        ],
        members={"streams.low": 2},
        oldest={(TOPIC, 0): NOW.timestamp() - 180},
        retention={},
    )


DATABASE = DatabaseSample(
    outbox=OutboxDepth(waiting=12, set_aside=1, oldest=NOW.timestamp() - 3),
    dead_letters=[OpenDeadLetters(TOPIC, "clean-document", "permanent", 4), OpenDeadLetters(TOPIC, "", "decode", 1)],
    schedules=[
        ScheduleState("nightly", enabled=True, paused=True, next_slot=None, last_success=None, missed=2),
        ScheduleState("lost", enabled=True, paused=False, next_slot=None, last_success=None, missed=0, broken=True),
    ],
    paused=[PausedItem("handler", f"handler-{number}{HOSTILE}", NOW) for number in range(9)],
    breakers=[Breaker("qdrant", 1, 2, HOSTILE), Breaker("redis", 0, 2, None)],
    deaths=[
        Death(
            NOW, "app.published-workflow-updated", "sync-published-workflow", "exhausted", f"builtins.{HOSTILE}", "id"
        )
    ],
)


def overview(*, before: KafkaSample | None = None, errors: dict[str, str] | None = None) -> Overview:
    last = kafka(20.0, settled=140, end=200, tier=7)
    return build_overview(CATALOGUE, KafkaSamples(last, before), DATABASE, errors or {}, NOW)


def test_rates_are_measured_between_two_samples() -> None:
    found = overview(before=kafka(10.0, settled=100, end=150))
    assert found.pools is not None
    low = next(row for row in found.pools if row.pool == "low")
    assert (low.lag, low.retries, low.members) == (60, 7, 2)
    assert (low.published_per_second, low.settled_per_second) == (5.0, 4.0)
    assert low.oldest == datetime(2026, 1, 31, 11, 57, tzinfo=UTC)
    high = next(row for row in found.pools if row.pool == "high")
    assert (high.lag, high.members, high.settled_per_second) == (0, None, 0.0)
    assert found.topics is not None
    assert [(row.topic, row.tier) for row in found.topics] == [(TOPIC, False), (TIER, True), ("message.created", False)]
    assert found.dead_letters == 5


def test_there_is_no_rate_from_one_sample() -> None:
    pools = overview().pools
    assert pools is not None
    assert {row.published_per_second for row in pools} == {None}


def test_a_failed_reading_breaks_the_rates() -> None:
    """The next rate begins anew; a sample that is seen twice changes nothing."""
    first, second, third = (kafka(at, settled=1, end=2) for at in (1.0, 2.0, 3.0))
    samples = KafkaSamples().followed_by(first).followed_by(second)
    assert samples == KafkaSamples(second, first)
    assert samples.followed_by(second) is samples
    assert samples.followed_by(None).followed_by(third) == KafkaSamples(third, None)


def test_what_does_not_answer_is_null_in_json() -> None:
    found = build_overview(CATALOGUE, KafkaSamples(), None, {"kafka": "no broker"}, NOW)
    read = json.loads(to_json(found.as_json()))
    assert read["errors"] == {"kafka": "no broker"}
    assert {name for name, value in read.items() if value is None} == set(read) - {"at", "errors"}


@pytest.mark.requirement("Commands", "`streams top`: works at 80 columns")
@pytest.mark.parametrize("width", [20, 80, 200])
@pytest.mark.parametrize("height", [5, 24, 60])
def test_the_screen_fits_on_the_terminal(width: int, height: int) -> None:
    """No line is wider, there are no more lines than the terminal has, and data sends no control characters."""
    screen = Screen(is_terminal=True, width=width, now=NOW)
    found = overview(before=kafka(10.0, settled=100, end=150), errors={"database": "no answer " * 30})
    lines = [line.plain for line in top_lines(found, screen, height)]
    assert len(lines) < height
    assert all(cell_len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)


def test_everything_that_matters_is_on_eighty_columns() -> None:
    found = overview(before=kafka(10.0, settled=100, end=150))
    screen = Screen(is_terminal=True, width=80, now=NOW)
    text = "\n".join(line.plain for line in top_lines(found, screen, 40))
    for expected in (
        "brokers 3",
        "outbox 12 since 3 s ago  set aside 1  dead letters 5",
        "low         2   60  3 min ago  5.0/s  4.0/s        7",
        "breaker   qdrant: 1 of 2 workers wait",
        "4 more",
        "schedule  nightly: paused, 2 missed slots in 24 h",
        "schedule  lost: cannot run",
        "sync-published",
    ):
        assert expected in text, text
    assert "redis" not in text


def test_a_pipe_gets_everything() -> None:
    found = overview(before=kafka(10.0, settled=100, end=150))
    text = "\n".join(line.plain for line in top_lines(found, Screen(is_terminal=False, width=80, now=NOW)))
    assert text.count("paused    handler") == 9
    assert "app.published-workflow-updated" in text
