"""The evolution gate: allowed changes of an event, and the messages for the others."""

from enum import StrEnum
from typing import Annotated, Literal, get_args

import pytest
from pydantic import BaseModel, Field, create_model

from schemas import DocumentDeleted, Event
from schemas.evolution import COMPATIBILITIES, Compatibility, Version, breaking_changes
from streams.schema_registry.constraints import allowed_values
from streams.schema_registry.export import avro_schema

Definition = tuple[object, object]
OTHER = ", or add another field with a default"
NEEDED, INT, TEXT = ..., int, str


class Line(BaseModel):
    amount: int


class WiderLine(BaseModel):
    amount: int
    note: str = ""


class NarrowerLine(BaseModel):
    amount: int
    note: str


class Unit(StrEnum):
    TOKENS = "tokens"
    TIMES = "times"


class MoreUnits(StrEnum):
    TOKENS = "tokens"
    TIMES = "times"
    CREDITS = "credits"


WiderLine.__name__ = NarrowerLine.__name__ = "Line"
MoreUnits.__name__ = "Unit"


def version(number: int, **fields: Definition) -> Version:
    """Return the event `Paid` with these fields, as a committed version."""
    event = create_model("Paid", __base__=Event, **fields)  # type: ignore[call-overload] # Pydantic's own signature
    return Version(number, avro_schema(event), allowed_values(event))


def first_break(old: dict[str, Definition], new: dict[str, Definition], mode: Compatibility = "FULL_TRANSITIVE") -> str:
    found = breaking_changes(version(2, **new), [version(1, **old)], mode)
    return str(found[0]) if found else ""


@pytest.mark.requirement("Schema evolution", "the message names the field and the fix")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"a": (TEXT, NEEDED)}, {"a": (TEXT, NEEDED)}),
        ({"a": (TEXT, NEEDED)}, {"a": (TEXT, NEEDED), "b": (TEXT | None, None)}),
        ({"a": (TEXT, NEEDED)}, {"a": (TEXT, NEEDED), "b": (INT, 5)}),
        ({"a": (TEXT, NEEDED)}, {"a": (TEXT, NEEDED), "b": (list[str], Field(default_factory=list))}),
        ({"a": (TEXT, NEEDED), "b": (TEXT | None, None)}, {"a": (TEXT, NEEDED)}),
        ({"a": (INT, 1)}, {"a": (INT, 2)}),
        ({"a": (INT, 1)}, {"a": (INT, NEEDED)}),
        ({"lines": (list[Line], NEEDED)}, {"lines": (list[WiderLine], NEEDED)}),
        ({"a": (INT, NEEDED), "b": (TEXT, NEEDED)}, {"b": (TEXT, NEEDED), "a": (INT, NEEDED)}),
    ],
    ids=[
        "nothing",
        "add-nullable",
        "add-with-default",
        "add-list",
        "remove-with-default",
        "another-default",
        "default-gone",
        "add-in-nested-record",
        "order",
    ],
)
def test_what_passes(old: dict[str, Definition], new: dict[str, Definition]) -> None:
    assert first_break(old, new) == ""


@pytest.mark.requirement("Schema evolution", "the message names the field and the fix")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            {"a": (TEXT, NEEDED)},
            {"a": (TEXT, NEEDED), "b": (INT, NEEDED)},
            '"b" is new and has no default, and records of v1 do not have it: give it a default',
        ),
        (
            {"a": (TEXT, NEEDED), "b": (INT, NEEDED)},
            {"a": (TEXT, NEEDED)},
            '"b" was removed, and consumers of v1 need it, because it has no default there: keep it',
        ),
        (
            {"a": (TEXT, NEEDED)},
            {"b": (TEXT, NEEDED)},
            (
                '"a" was renamed to "b", which for Avro is one removed field and one added field: keep "a", and add '
                '"b" with a default if both are wanted'
            ),
        ),
        (
            {"a": (INT, NEEDED)},
            {"a": (TEXT, NEEDED)},
            ('"a" is string now and was long in v1, whose records cannot be read as that: keep long' + OTHER),
        ),
        (
            {"a": (INT, NEEDED)},
            {"a": (float, NEEDED)},
            ('"a" is double now and was long in v1, whose consumers cannot read that: keep long' + OTHER),
        ),
        (
            {"a": (TEXT | None, None)},
            {"a": (TEXT, "")},
            (
                '"a" is string now and was null or string in v1, whose records cannot be read as that: keep null or '
                "string" + OTHER
            ),
        ),
        (
            {"a": (TEXT, NEEDED)},
            {"a": (TEXT | None, None)},
            (
                '"a" is null or string now and was string in v1, whose consumers cannot read that: keep string, '
                "or add another field with a default"
            ),
        ),
        (
            {"line": (Line, NEEDED)},
            {"line": (NarrowerLine, NEEDED)},
            '"line.note" is new and has no default, and records of v1 do not have it: give it a default',
        ),
        (
            {"lines": (list[Line], NEEDED)},
            {"lines": (list[NarrowerLine], NEEDED)},
            '"lines[].note" is new and has no default, and records of v1 do not have it: give it a default',
        ),
        (
            {"by_day": (dict[str, int], NEEDED)},
            {"by_day": (dict[str, str], NEEDED)},
            ('"by_day[]" is string now and was long in v1, whose records cannot be read as that: keep long' + OTHER),
        ),
        (
            {"unit": (Unit, Unit.TOKENS)},
            {"unit": (MoreUnits, MoreUnits.TOKENS)},
            ("\"unit\" accepts 'credits' now, which consumers of v1 do not know: keep what it accepts" + OTHER),
        ),
        (
            {"unit": (MoreUnits, NEEDED)},
            {"unit": (Unit, NEEDED)},
            "\"unit\" no longer accepts 'credits', which records of v1 may have: keep what it accepts",
        ),
        (
            {"unit": (Literal["tokens", "times"], NEEDED)},
            {"unit": (Literal["tokens", "times", "credits"], NEEDED)},
            ("\"unit\" accepts more than in v1, whose consumers reject that ('credits'): keep what it accepts" + OTHER),
        ),
        (
            {"unit": (Literal["tokens", "times"] | None, None)},
            {"unit": (Literal["tokens"] | None, None)},
            (
                "\"unit\" accepts less than in v1, whose records may have more ('times'): keep what it accepts, and "
                "check in the handler"
            ),
        ),
        (
            {"a": (TEXT, NEEDED)},
            {"a": (Annotated[str, Field(max_length=5)], NEEDED)},
            (
                '"a" accepts less than in v1, whose records may have more (maxLength none → 5): keep what it accepts, '
                "and check in the handler"
            ),
        ),
        (
            {"a": (Annotated[int, Field(ge=1)], NEEDED)},
            {"a": (Annotated[int, Field(ge=0)], NEEDED)},
            ('"a" accepts more than in v1, whose consumers reject that (minimum 1 → 0): keep what it accepts' + OTHER),
        ),
    ],
    ids=[
        "add-without-default",
        "remove-without-default",
        "rename",
        "type-change",
        "long-to-double",
        "no-longer-null",
        "nullable",
        "nested-record",
        "array-items",
        "map-values",
        "enum-symbol-added",
        "enum-symbol-removed",
        "literal-added",
        "literal-removed",
        "bound-added",
        "bound-loosened",
    ],
)
def test_what_is_refused_and_the_fix(old: dict[str, Definition], new: dict[str, Definition], message: str) -> None:
    assert first_break(old, new) == f"v2: field {message}"


ADDED: tuple[dict[str, Definition], dict[str, Definition]] = (
    {"a": (TEXT, NEEDED)},
    {"a": (TEXT, NEEDED), "b": (TEXT, NEEDED)},
)
REMOVED = (ADDED[1], ADDED[0])


@pytest.mark.requirement("Schema evolution", "full and transitive by default, per event settable")
@pytest.mark.parametrize("mode", COMPATIBILITIES)
def test_each_mode_refuses_its_directions(mode: Compatibility) -> None:
    """Backward: old records are readable. Forward: old consumers can read. NONE: no check."""
    assert bool(first_break(*ADDED, mode)) == mode.startswith(("BACKWARD", "FULL"))
    assert bool(first_break(*REMOVED, mode)) == mode.startswith(("FORWARD", "FULL"))
    widened: tuple[dict[str, Definition], dict[str, Definition]] = ({"a": (INT, NEEDED)}, {"a": (float, NEEDED)})
    assert bool(first_break(*widened, mode)) == mode.startswith(("FORWARD", "FULL"))


@pytest.mark.requirement("Schema evolution", "full and transitive by default, per event settable")
def test_transitive_looks_at_every_version_and_the_others_at_the_last() -> None:
    """v3 adds a field again that v2 had removed, with another type."""
    first = version(1, a=(INT | None, None))
    second = version(2)
    third = version(3, a=(TEXT | None, None))
    assert breaking_changes(third, [first, second], "FULL") == []
    (found,) = breaking_changes(third, [second, first], "FULL_TRANSITIVE")
    assert str(found).startswith('v3: field "a" is null or string now and was null or long in v1')


def test_a_version_that_notes_nothing_of_its_values_is_not_compared_by_them() -> None:
    """Versions that were exported before the gate existed."""
    old = Version(1, version(1, a=(TEXT, NEEDED)).schema)
    assert breaking_changes(version(2, a=(Literal["x"], NEEDED)), [old], "FULL_TRANSITIVE") == []


def test_each_field_is_told_once() -> None:
    """A type that is incompatible in both directions is reported once."""
    found = breaking_changes(version(2, a=(TEXT, NEEDED)), [version(1, a=(INT, NEEDED))], "FULL_TRANSITIVE")
    assert [one.field for one in found] == ["a"]


@pytest.mark.requirement("Schema evolution", "full and transitive by default, per event settable")
def test_an_event_sets_its_own_mode() -> None:
    """By a class variable. The default is full and transitive."""
    assert DocumentDeleted.compatibility == "FULL_TRANSITIVE"
    assert set(COMPATIBILITIES) == set(get_args(Compatibility))
    assert "compatibility" not in DocumentDeleted.model_fields


@pytest.mark.requirement("Schema evolution", "what a class refuses though Avro reads it: texts of a Literal, bounds")
def test_what_a_class_allows_is_found_in_nested_records_lists_and_unions() -> None:
    class Part(BaseModel):
        kind: Literal["x", "y"]

    class Whole(Event):
        parts: list[Part]
        by_name: dict[str, Annotated[int, Field(lt=9)]]
        either: Literal["a"] | Annotated[int, Field(ge=3)] | None = None
        unit: Unit

    assert allowed_values(Whole) == {
        "parts[].kind": {"enum": ["x", "y"]},
        "by_name[]": {"exclusiveMaximum": 9},
        "either": {"enum": ["a"], "minimum": 3},
    }
