"""The costs of messages, computed without a database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dify.errors import CreditsMissingError
from streams.dify.quota import (
    MAX_QUOTA,
    ProviderRow,
    QuotaUnit,
    Usage,
    charge_amount,
    charged_usages,
    quota_after,
    row_quota_after,
)


def one_by_one(limit: int | None, used: int | None, amounts: list[int]) -> int | None:
    """Compute `update … set quota_used = quota_used + amount where quota_limit > quota_used`, with the null of SQL."""
    for added in amounts:
        if limit is not None and used is not None and limit > used:
            used = used + added
    return used


@pytest.mark.requirement("The work on the platform's tables", "charge a message as if one by one")
@given(st.none() | st.integers(-1, 500), st.none() | st.integers(0, 500), st.lists(st.integers(0, 200), max_size=20))
def test_a_batch_is_charged_like_one_by_one(limit: int | None, used: int | None, amounts: list[int]) -> None:
    assert quota_after(limit, used, amounts) == one_by_one(limit, used, amounts)


@given(st.integers(0, 500), st.lists(st.integers(0, 200), max_size=20), st.integers(0, 20))
def test_how_it_is_cut_into_batches_does_not_matter(limit: int, amounts: list[int], cut: int) -> None:
    assert quota_after(limit, quota_after(limit, 0, amounts[:cut]), amounts[cut:]) == quota_after(limit, 0, amounts)


@pytest.mark.parametrize(
    ("unit", "limit", "credit", "expected"),
    [
        ("tokens", 10, None, 42),
        ("times", 10, None, 1),
        ("credits", 10, 3, 3),
        ("credits", 10, 0, 0),
        ("tokens", -1, None, None),
        ("tokens", None, None, 42),
        (None, 10, None, None),
    ],
)
def test_amounts(unit: QuotaUnit | None, limit: int | None, credit: int | None, expected: int | None) -> None:
    assert charge_amount(unit, limit, 42, credit) == expected


def test_credits_must_be_given() -> None:
    with pytest.raises(CreditsMissingError):
        charge_amount("credits", 10, 42, None)


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (Usage("t", ("openai",), "trial", 5), 5),
        (Usage("t", ("x", "openai"), "trial", 5), 5),
        (Usage("u", ("openai",), "trial", 5), 0),
        (Usage("t", ("x",), "trial", 5), 0),
        (Usage("t", ("openai",), "paid", 5), 0),
        (Usage("t", ("openai",), None, None), 0),
    ],
)
def test_which_uses_meet_a_row(use: Usage, expected: int) -> None:
    row = ProviderRow("id", "t", "openai", "system", "trial", 100, 0, stale=False)
    assert row_quota_after(row, charged_usages([use], [row])) == expected


@pytest.mark.requirement(
    "Faults of others", "S8: the row of the short provider name is charged, the long one without it"
)
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("openai", "system", "trial"), ("langgenius/openai/openai", "system", "trial")], [5, 0]),
        ([("langgenius/openai/openai", "system", "trial")], [5]),
        ([("openai", "custom", ""), ("langgenius/openai/openai", "system", "trial")], [0, 5]),
        ([("openai", "system", "paid"), ("langgenius/openai/openai", "system", "trial")], [0, 5]),
    ],
)
def test_one_row_is_charged(rows: list[tuple[str, str, str]], expected: list[int]) -> None:
    """A provider's two spellings are one provider: one message is charged once."""
    known = [ProviderRow(name, "t", name, kind, quota, 100, 0, stale=False) for name, kind, quota in rows]
    charged = charged_usages([Usage("t", ("openai", "langgenius/openai/openai"), "trial", 5)], known)
    assert [row_quota_after(row, charged) for row in known] == expected


@pytest.mark.requirement("Faults of others", "M6: a message cannot give quota back, or exceed the column")
def test_the_sum_fits_the_column() -> None:
    """It stops at the largest number of the column."""
    assert quota_after(MAX_QUOTA, MAX_QUOTA - 5, [10]) == MAX_QUOTA


def test_a_custom_row_is_never_charged() -> None:
    row = ProviderRow("id", "t", "openai", "custom", "trial", 100, 0, stale=True)
    assert row_quota_after(row, [(Usage("t", ("openai",), "trial", 5), "openai")]) == 0
