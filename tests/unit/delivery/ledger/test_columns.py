"""The event in the ledger's row: readable, limited in size, accepted by PostgreSQL."""

import base64
import json
import math
from dataclasses import replace
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, model_serializer

from schemas import Event, Personal
from streams.delivery.ledger.columns import ARGS_LIMIT, LONG_TEXT, args_json
from tests.support.factories import a_delivery


class NoteTaken(Event):
    """An event of any size."""

    title: str
    body: str = ""
    parts: tuple[dict[str, str], ...] = ()


def args(event: Event) -> dict[str, object]:
    shown = json.loads(args_json(replace(a_delivery(), event=event)))
    assert isinstance(shown, dict)
    return shown


def test_a_small_event_is_stored_whole() -> None:
    shown = args(NoteTaken(title="t", body="b" * (LONG_TEXT + 1)))
    assert shown["body"] == "b" * (LONG_TEXT + 1)


def test_each_long_text_of_a_large_event_is_cut() -> None:
    """Short fields stay whole, so that the event can be identified."""
    long = "é" * ARGS_LIMIT
    shown = args(NoteTaken(title="short", body=long, parts=({"name": "first", "text": long},)))
    cut = f"{long[:LONG_TEXT]}… ({ARGS_LIMIT} characters)"
    assert (shown["title"], shown["body"]) == ("short", cut)
    assert shown["parts"] == [{"name": "first", "text": cut}]


@pytest.mark.parametrize("size", [1, ARGS_LIMIT])
def test_a_nul_character_is_replaced(size: int) -> None:
    """PostgreSQL rejects NUL characters in JSON."""
    shown = args(NoteTaken(title="a\x00b", body="x" * size))
    assert shown["title"] == "a\ufffdb"


def test_a_text_that_spells_a_nul_character_is_kept() -> None:
    """Six characters of somebody's program, behind one backslash and two; then a real one behind a backslash."""
    title = "\\u0000 \\\\u0000 \\\x00"
    assert args(NoteTaken(title=title, body=""))["title"] == title.replace("\x00", "\ufffd")


class Inner(BaseModel):
    """A nested model, as an Avro record has it."""

    blob: bytes
    number: float
    text: str


class AllTypes(Event):
    """Every Avro type that the export takes."""

    blob: bytes
    number: float
    whole: int
    text: str
    texts: list[str]
    mapping: dict[str, float]
    inner: Inner | None


class MarkedTypes(AllTypes):
    """The same with a mark, which is another way through the code."""

    name: Annotated[str, Personal]


FLOATS = st.floats(allow_nan=True, allow_infinity=True)
INNERS = st.builds(Inner, blob=st.binary(), number=FLOATS, text=st.text(max_size=9))
FIELDS = {
    "blob": st.binary(),
    "number": FLOATS,
    "whole": st.integers(-(2**63), 2**63 - 1),
    "text": st.text(),
    "texts": st.lists(st.text(max_size=9), max_size=3),
    "mapping": st.dictionaries(st.text(max_size=9), FLOATS, max_size=3),
    "inner": st.one_of(st.none(), INNERS),
}


@pytest.mark.requirement("Faults of others", "R1: arguments that JSON cannot represent never matter")
@given(st.one_of(st.builds(AllTypes, **FIELDS), st.builds(MarkedTypes, name=st.text(), **FIELDS)))
def test_any_event_has_arguments_that_postgresql_takes(event: Event) -> None:
    """Valid JSON in UTF-8 without NaN, infinities and NUL characters."""
    encoded = args_json(replace(a_delivery(), event=event))
    assert "\\u0000" not in encoded
    shown = json.loads(encoded.encode().decode(), parse_constant=pytest.fail)
    assert set(shown) == set(type(event).model_fields) - {"event_id", "tenant_id"}


@pytest.mark.requirement("Faults of others", "R1: arguments that JSON cannot represent never matter")
def test_bytes_are_base64_and_a_mark_stays_masked() -> None:
    jpeg, inner = b"\xff\xd8\xff", Inner(blob=b"\xff", number=math.inf, text="t")
    fields = {"blob": jpeg, "number": math.nan, "whole": 1, "text": "t", "texts": ["a"], "mapping": {"k": -math.inf}}
    shown = args(MarkedTypes.model_validate({**fields, "inner": inner, "name": "Ada"}))
    assert shown["blob"] == base64.b64encode(jpeg).decode()
    assert (shown["number"], shown["mapping"], shown["name"]) == (None, {"k": None}, "***")
    assert shown["inner"] == {"blob": "/w==", "number": None, "text": "t"}


class Broken(Event):
    """An event whose JSON and fields both fail."""

    part: object = None

    @model_serializer
    def fail(self) -> dict[str, object]:
        """Fail, as a class's own serializer may."""
        raise LookupError("no serializer today")


class Unprintable:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.requirement("Faults of others", "R1: arguments that JSON cannot represent never matter")
def test_arguments_that_cannot_be_shown_are_a_placeholder() -> None:
    assert args(Broken(part="p"))["part"] == "p"
    assert args(Broken(part=Unprintable())) == {"omitted": "they are no JSON: RuntimeError"}
