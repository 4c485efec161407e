"""The names of the ledger's partitions."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.database.partitions import partition_day, partition_name


@given(st.dates(min_value=date(1000, 1, 1)))
def test_a_name_of_ours_gives_its_day(day: date) -> None:
    assert partition_day(partition_name(day)) == day


@pytest.mark.parametrize(
    "name",
    ["executions_default", "executions_2026", "executions_20261345", "executions_20260301_old", "other_20260301"],
)
@pytest.mark.requirement("Faults of others", "R19: a partition of another name is left alone")
def test_any_other_name_gives_none(name: str) -> None:
    assert partition_day(name) is None


@given(st.text())
def test_no_name_raises(name: str) -> None:
    assert partition_day(f"executions_{name}") is None or len(name) == len("20260301")
