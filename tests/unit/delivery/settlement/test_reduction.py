"""What is left of a record after rejections: less each time, until it is accepted or has to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, ProgrammingError

from streams.delivery.settlement.reduction import BARE, COMPLETE, Form, Reduction, is_data_error, reduced
from streams.storage import StorageAwayError
from streams.transport.kafka.records import ProduceError

REJECTED = ProduceError("too large", retriable=False, rejects_record=True)


class DriverError(Exception):
    """A driver's error with a code."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("no")
        self.sqlstate = sqlstate


WAITS = [
    ProduceError("no leader", retriable=True),
    ProduceError("no such topic", retriable=False),
    TimeoutError(),
    StorageAwayError("away"),
    OperationalError("s", {}, DriverError("57P01")),
    ProgrammingError("s", {}, DriverError("42501")),
]
CAUSED = [
    REJECTED,
    ValueError("no JSON"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogate"),
    RecursionError(),
    DataError("s", {}, DriverError("22P02")),
    DataError("s", {}, DriverError(None)),
    IntegrityError("s", {}, DriverError("23514")),
]


@pytest.mark.requirement("Faults of others", "R1: a rejected settlement goes on with less of the record")
@pytest.mark.parametrize("error", WAITS)
def test_what_the_record_does_not_cause_waits(error: Exception) -> None:
    assert reduced(COMPLETE, error) is None
    with pytest.raises(type(error)):
        Reduction().reduce(error)


@pytest.mark.requirement("Faults of others", "R1: a rejected settlement goes on with less of the record")
@given(st.lists(st.sampled_from(CAUSED), min_size=12, max_size=12))
def test_each_rejection_takes_something_away_until_nothing_is_left(errors: list[Exception]) -> None:
    form, seen = COMPLETE, [COMPLETE]
    for error in errors:
        smaller = reduced(form, error)
        if smaller is None:
            assert not form.value
            assert not form.headers
            return
        assert smaller not in seen
        seen.append(form := smaller)


def test_kafka_and_the_database_take_what_they_reject() -> None:
    assert reduced(COMPLETE, REJECTED) == Form(value=False)
    assert reduced(Form(value=False), REJECTED) == Form(value=False, headers=False)
    assert reduced(COMPLETE, ValueError()) == Form(args=False)
    assert reduced(Form(args=False), ValueError()) == Form(args=False, row=False)
    assert (BARE.omitted, Form(value=False).omitted, COMPLETE.omitted) == ("headers", "value", None)


@pytest.mark.requirement("Faults of others", "c04: a copy that Kafka rejects goes without its value, which is stored")
def test_one_rejection_by_kafka_may_be_a_neighbour_s() -> None:
    """The brokers reject a batch. So the same form is tried twice."""
    reduction = Reduction()
    with pytest.raises(ProduceError):
        reduction.reduce(REJECTED)
    assert reduction.form is COMPLETE
    reduction.reduce(REJECTED)
    assert reduction.form == Form(value=False)


@pytest.mark.parametrize("error", [*WAITS, *CAUSED])
def test_data_errors_are_the_database_s(error: Exception) -> None:
    assert is_data_error(error) is (isinstance(error, DataError | IntegrityError))
