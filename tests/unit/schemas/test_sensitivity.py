"""Marks: found in classes at any depth, stored in Avro files, and found there again."""

from typing import Annotated, Literal

import fastavro
import pytest
from pydantic import BaseModel

from schemas import Event, Personal, Secret
from schemas.sensitivity import TAGS, has_secret, marks_of, marks_of_schema
from streams.observability.redaction import masked
from streams.schema_registry.export import avro_schema
from streams.settings import Settings, SettingsError
from streams.topics import BUILT_IN, SECRET_RETENTION, USUAL_RETENTION, Topic, load_topics


class Address(BaseModel):
    street: Annotated[str, Personal]
    city: str


class Person(BaseModel):
    name: Annotated[str, Personal]
    homes: list[Address]


class Employee(Person):
    boss: "Employee | None" = None


class Invited(Event):
    """Marks in every possible place."""

    code: Annotated[str, Secret]
    hint: Annotated[str, Secret] | None = None
    mails: list[Annotated[str, Personal]]
    age: Annotated[int | None, Personal] = None
    person: Person
    others: list[Person] | None = None
    by_place: dict[str, Address]
    group_id: str
    state: Literal["new", "old"] = "new"


class Plain(Event):
    person_id: str


MARKS = marks_of(Invited)


@pytest.mark.requirement(
    "Personal data",
    "fields marked in the schema: in optionals, lists, nested models; carried by the Avro file and found there",
)
def test_marks_are_found_in_optionals_lists_nested_and_recursive_models() -> None:
    assert MARKS is not None
    assert set(MARKS) == {"code", "hint", "mails", "age", "person", "others", "by_place"}
    assert (MARKS["code"], MARKS["hint"], MARKS["mails"], MARKS["age"]) == (Secret, Secret, Personal, Personal)
    person = MARKS["person"]
    assert isinstance(person, dict)
    assert (person["name"], person["homes"]) == (Personal, {"street": Personal})
    assert MARKS["by_place"] is Personal, "the keys of a map are data: it is masked as a whole"


def test_a_model_may_hold_itself() -> None:
    marks = marks_of(Employee)
    assert marks is not None
    boss = marks["boss"]
    assert isinstance(boss, dict)
    assert boss["boss"] is boss
    assert masked({"name": "A", "boss": {"name": "B", "boss": {"name": "C", "boss": None}}}, marks) == {
        "name": "***",
        "boss": {"name": "***", "boss": {"name": "***", "boss": None}},
    }


@pytest.mark.requirement(
    "Personal data",
    "fields marked in the schema: in optionals, lists, nested models; carried by the Avro file and found there",
)
def test_an_event_without_marks_has_none_and_only_mails_have_secrets() -> None:
    assert marks_of(Plain) is None
    assert {topic.name for topic in BUILT_IN if topic.secret} == {"mail.requested", "mail.code-requested"}


@pytest.mark.requirement(
    "Personal data",
    "fields marked in the schema: in optionals, lists, nested models; carried by the Avro file and found there",
)
def test_the_avro_file_carries_the_marks_and_gives_them_back() -> None:
    schema = avro_schema(Invited)
    fields = {field["name"]: field for field in schema["fields"]}  # type: ignore[attr-defined]  # a list of fields
    assert fields["code"][TAGS] == ["SECRET"]
    assert fields["mails"][TAGS] == ["PII"]
    assert TAGS not in fields["group_id"]
    fastavro.parse_schema(schema)
    found = marks_of_schema(schema)
    assert found is not None
    assert MARKS is not None
    assert set(found) == set(MARKS)
    assert (found["code"], found["age"], found["by_place"]) == (Secret, Personal, Personal)
    person = found["person"]
    assert isinstance(person, dict)
    assert (person["name"], person["homes"]) == (Personal, {"street": Personal})


def test_a_schema_without_tags_and_what_is_no_record_have_no_marks() -> None:
    assert marks_of_schema(avro_schema(Plain)) is None
    assert marks_of_schema({"type": "string"}) is None
    assert (
        marks_of_schema({"type": "record", "name": "X", "fields": [{"name": "a", "type": "string", TAGS: "PII"}]})
        is None
    )


@pytest.mark.requirement("Personal data", "a secret field: the topic keeps records for an hour")
def test_a_topic_of_secrets_keeps_them_for_an_hour_unless_it_says_otherwise() -> None:
    assert Topic("invited", Invited, key="group_id", pool="high").retention == SECRET_RETENTION
    assert Topic("invited", Invited, key="group_id", pool="high", retention=60.0).retention == 60.0
    assert Topic("plain", Plain, key="person_id", pool="high").retention == USUAL_RETENTION
    assert has_secret(MARKS)
    assert not has_secret(marks_of(Person))


@pytest.mark.requirement(
    "Personal data",
    "fields marked in the schema: in optionals, lists, nested models; carried by the Avro file and found there",
)
def test_a_key_that_is_marked_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are stored in plain text: in the record's key, in `ce_subject`, in the ledger."""
    monkeypatch.setattr("streams.topics.BUILT_IN", (Topic("invited", Invited, key="code", pool="high"),))
    with pytest.raises(SettingsError, match="invited: its key field code is marked"):
        load_topics(Settings())
