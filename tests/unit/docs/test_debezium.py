"""The connector's configuration in docs/how-to/debezium.md fits the outbox's columns."""

import json
import re

import pytest
from sqlalchemy import LargeBinary, Text, Uuid

from streams import headers
from streams.codec import build_codec
from streams.database.tables import outbox
from tests.support.factories import CATALOGUE, SETTINGS, an_event
from tests.support.pages import page

ROUTER = "transforms.outbox."
COLUMNS = {
    "table.field.event.id": Uuid,
    "table.field.event.key": LargeBinary,
    "table.field.event.payload": LargeBinary,
    "route.by.field": Text,
}
"""Options that name a column, and the type that each needs: the id becomes a text, key and value pass as bytes."""
OTHERS = {
    "type",
    "route.topic.replacement",
    "table.fields.additional.placement",
    "table.fields.additional.error.on.missing",
    "table.op.invalid.behavior",
}
"""Options of EventRouter that name none."""


def config() -> dict[str, str]:
    (block,) = [block for block in page("docs/how-to/debezium.md").blocks if block.language == "json"]
    found = json.loads(block.text)["config"]
    assert all(isinstance(value, str) for value in found.values())
    return dict(found)


@pytest.mark.requirement(
    "Publishing",
    "a Debezium EventRouter configuration that maps our columns, tested by the schema",
)
def test_every_option_of_the_router_names_a_column_of_its_type() -> None:
    options = {name.removeprefix(ROUTER): value for name, value in config().items() if name.startswith(ROUTER)}
    assert options.keys() == COLUMNS.keys() | OTHERS
    for option, kind in COLUMNS.items():
        assert isinstance(outbox.c[options[option]].type, kind), option
    assert {options[option] for option in COLUMNS} == {"event_id", "key", "value", "topic"}
    assert not outbox.c.event_id.nullable
    assert not outbox.c.topic.nullable


def test_the_topic_is_the_column_s_value() -> None:
    """As it is, since the router's default would put `outbox.event.` before it."""
    assert config()[ROUTER + "route.topic.replacement"] == "${routedByValue}"


def test_columns_that_become_headers_exist_and_are_texts() -> None:
    """By the header converter that is named, under names that are ours."""
    found = config()
    assert found["header.converter"].endswith("StringConverter")
    placed = [part.split(":") for part in found[ROUTER + "table.fields.additional.placement"].split(",")]
    for column, placement, name in placed:
        assert isinstance(outbox.c[column].type, Text | Uuid)
        assert placement == "header"
        assert name in {headers.CE_ID, headers.CE_TYPE}


@pytest.mark.requirement(
    "Publishing",
    "a Debezium EventRouter configuration that maps our columns, tested by the schema",
)
def test_the_headers_that_come_are_those_that_the_page_tells() -> None:
    """Together with the literals: what is missing of a record's own headers is in the table as missing."""
    found = config()
    added = {found[f"transforms.{name}.header"] for name in found["transforms"].split(",") if name != "outbox"}
    placed = {part.split(":")[2] for part in found[ROUTER + "table.fields.additional.placement"].split(",")}
    encoded = build_codec(SETTINGS, CATALOGUE).encode(an_event())
    sent = {name: value or b"" for name, value in encoded.headers}
    missing = sent.keys() - added - placed
    assert added | placed <= sent.keys()
    assert sent[headers.CE_SPECVERSION].decode() == found["transforms.specversion.value.literal"]
    assert sent[headers.CONTENT_TYPE].decode() == found["transforms.contenttype.value.literal"]
    told = re.findall(r"^\| (.+?) \| missing", page("docs/how-to/debezium.md").text, re.MULTILINE)
    assert {name for row in told for name in re.findall(r"`([^`]+)`", row)} == missing


def test_table_and_publication_are_named_alike() -> None:
    found, text = config(), page("docs/how-to/debezium.md").text
    assert found["table.include.list"] == outbox.fullname
    assert f"create publication {found['publication.name']} for table {outbox.fullname}\n" in text
    assert found["publication.autocreate.mode"] == "disabled"
