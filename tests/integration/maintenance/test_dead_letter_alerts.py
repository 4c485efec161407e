"""The alert about the first dead letter of a handler and a type of error."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from streams.operations.alerts.observations import DEPTHS, MOST_PAIRS, PAIRS
from streams.settings import Settings
from tests.support.alerts.monitor import Monitor, open_monitor

SECTION = "Schedules"


@pytest.fixture
async def monitor(settings: Settings) -> AsyncIterator[Monitor]:
    async with open_monitor(settings, alert_emails="ops@acme.example") as opened:
        yield opened


def last(subjects: list[str | None]) -> list[str]:
    return [str(subject).partition("] ")[2] for subject in subjects]


@pytest.mark.requirement(SECTION, "dead-letters: the first one of a handler and a type of error is an alert")
async def test_the_first_dead_letter_of_a_pair(monitor: Monitor) -> None:
    """Further ones of the pair are not, until all are replayed. Another error or another handler is."""
    await monitor.check_dead_letters()
    assert monitor.subjects() == []
    await monitor.add_dead_letters()
    await monitor.check_dead_letters()
    assert last(monitor.subjects()) == ["raised: handler-error:index-document:ValueError"]
    await monitor.add_dead_letters(50, first=1)
    await monitor.check_dead_letters()
    assert monitor.subjects() == []
    await monitor.add_dead_letters(first=60, error="KeyError")
    await monitor.check_dead_letters()
    await monitor.add_dead_letters(first=61, handler=None, dlq="other.dlq")
    await monitor.check_dead_letters()
    assert last(monitor.subjects()) == [
        "raised: handler-error:index-document:KeyError",
        "raised: handler-error:(unreadable record):ValueError",
    ]


@pytest.mark.requirement(SECTION, "dead-letters: an alert recovers when none of its pair is left in the DLQ")
@pytest.mark.parametrize(
    "end", ["update streams.dead_letters set replayed_at = now()", "delete from streams.dead_letters"]
)
async def test_the_end_of_an_alert(monitor: Monitor, end: str) -> None:
    """Two dead letters: one replayed, then the other. The retention of the DLQ deletes rows of the index too."""
    await monitor.add_dead_letters(2)
    await monitor.check_dead_letters()
    await monitor.execute(f"{end} where dlq_offset = 0")
    await monitor.check_dead_letters()
    assert len(monitor.subjects()) == 1
    await monitor.execute(f"{end} where dlq_offset = 1")
    await monitor.check_dead_letters()
    assert last(monitor.subjects()) == ["recovered: handler-error:index-document:ValueError"]
    await monitor.add_dead_letters(first=2)
    await monitor.check_dead_letters()
    assert last(monitor.subjects()) == ["raised: handler-error:index-document:ValueError"]


@pytest.mark.requirement(SECTION, "dead-letters: the check reads the index of dead letters, never the whole table")
async def test_a_hundred_thousand_dead_letters(monitor: Monitor) -> None:
    """All but a few are of three pairs, or replayed. No statement scans the table, and the check is fast."""
    await monitor.add_dead_letters(60_000, replayed=True)
    for number, error in enumerate(("ValueError", "KeyError", "OSError")):
        await monitor.add_dead_letters(15_000, first=100_000 * (number + 1), error=error, dlq=f"{number}.dlq")
    await monitor.execute("analyze streams.dead_letters")
    for statement in (PAIRS, DEPTHS):
        query = f"explain {statement.text}".replace(":most", "1000")
        plan = "\n".join(str(line) for (line,) in await monitor.rows(query))
        assert "Seq Scan on dead_letters" not in plan
        assert "dead_letters_waiting" in plan
    begin = datetime.now(tz=UTC)
    result = await monitor.check_dead_letters()
    assert isinstance(result, dict)
    assert result["raised"] == 3
    assert datetime.now(tz=UTC) - begin < timedelta(seconds=5)


async def test_names_of_any_length_are_indexed(monitor: Monitor) -> None:
    """A record may name a handler of any length. Its dead letter must not fail in the index."""
    await monitor.add_dead_letters(handler="h" * 30_000, error="e" * 30_000)
    await monitor.check_dead_letters()
    assert [len(str(name)) for (name,) in await monitor.rows("select name from streams.alerts")] == [14 + 200 + 1 + 200]


async def test_endless_pairs_are_cut(monitor: Monitor) -> None:
    async with monitor.engine.begin() as connection:
        rows = await connection.execute(text(f"select count(*) from ({PAIRS.text}) p".replace(":most", "3")))
        assert rows.scalar_one() == 0
    for number in range(5):
        await monitor.add_dead_letters(first=number, error=f"Error{number}")
    rows_of = await monitor.rows(f"select handler from ({PAIRS.text}) p".replace(":most", "3"))
    assert len(rows_of) == 3 < MOST_PAIRS
