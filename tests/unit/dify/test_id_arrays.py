"""Many ids travel as one text, and what is not a UUID is left to the driver and the server."""

from uuid import uuid4

import pytest
from sqlalchemy.engine.default import DefaultDialect

from streams.dify.retention import workflow_runs
from streams.dify.sql import UuidArray

DIALECT = DefaultDialect()
SOME = "018f3a52-7d8c-7e61-9a3b-4c5d6e7f8a9b"


def test_uuids_are_one_text() -> None:
    first, second = str(uuid4()), str(uuid4())
    write = UuidArray().process_bind_param
    assert write((first, second), DIALECT) == f"{{{first},{second}}}"
    assert write((), DIALECT) == "{}"
    assert write(None, DIALECT) is None


@pytest.mark.parametrize(
    "hostile", ["", "a,b", "{}", f"{SOME},{SOME}", "\"'); drop table messages; --", SOME.replace("-", "")]
)
def test_other_ids_are_quoted_by_the_driver(hostile: str) -> None:
    ids = (str(uuid4()), hostile)
    assert UuidArray().process_bind_param(ids, DIALECT) == list(ids)


def test_batches_of_runs_grow_while_they_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [str(number) for number in range(50)]
    assert [len(some) for some in workflow_runs.growing(runs, 10)] == [10, 20, 20]
    monkeypatch.setattr(workflow_runs, "SHORT_SECONDS", 0.0)
    parts = list(workflow_runs.growing(runs, 20))
    assert [len(some) for some in parts] == [20, 20, 10]
    assert [one for some in parts for one in some] == runs
