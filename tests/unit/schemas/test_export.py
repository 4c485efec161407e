"""Export of event classes to Avro files. Committed files are never changed."""

import json
from pathlib import Path
from typing import ClassVar, Literal

import fastavro
import pytest
from pydantic import BaseModel

from schemas import DocumentDeleted, Event, MessageCreated
from schemas.evolution import Compatibility
from schemas.registry import COMMITTED, INDEX, FileRegistry, RegisteredSchema
from streams.schema_registry.export import (
    IncompatibleChangeError,
    SchemaExportError,
    avro_schema,
    drifts,
    export,
    incompatible,
    pending,
)
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue, Topic


class WiderDeleted(DocumentDeleted):
    """`DocumentDeleted` of a later release."""

    batch: str | None = None


class NarrowerDeleted(Event):
    """A class that cannot be released: consumers need the removed field."""

    document_id: str
    dataset_id: str


WiderDeleted.__name__ = NarrowerDeleted.__name__ = "DocumentDeleted"


def deleted(event: type[Event]) -> Catalogue:
    """Return a catalogue with `document.deleted` only, with this class."""
    return catalogue(Topic("document.deleted", event, key="document_id", pool="low"))


def catalogue(*topics: Topic, prefix: str = "") -> Catalogue:
    return Catalogue(topics or BUILT_IN, Settings(topic_prefix=prefix))


@pytest.mark.requirement("Schemas", "Avro files generated from the classes, and committed")
def test_committed_files_are_what_the_classes_say() -> None:
    """Byte for byte what `streams schemas export` writes, for every event of the catalogue."""
    registry = FileRegistry()
    assert drifts(catalogue(), registry) == []
    for topic in catalogue():
        latest = registry.latest(f"{topic.name}-value")
        assert latest is not None
        expected = json.dumps(avro_schema(topic.event), indent=2) + "\n"
        assert (COMMITTED / latest.file).read_text(encoding="utf-8") == expected


def test_what_is_made_anew_for_each_event_has_no_default() -> None:
    """Otherwise each export would write another time. Constant defaults stay, so that readers can use them."""
    fields = {field["name"]: field for field in fields_of(avro_schema(DocumentDeleted))}
    assert "default" not in fields["event_id"]
    assert "default" not in fields["occurred_at"]
    assert fields["file_id"]["default"] is None
    assert fields["event_id"]["type"] == {"type": "string", "logicalType": "uuid"}
    assert fields["occurred_at"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}


def test_generated_schemas_are_valid_avro() -> None:
    """Each of them is accepted by fastavro."""
    for topic in catalogue():
        fastavro.parse_schema(avro_schema(topic.event))


@pytest.mark.requirement("Schemas", "a changed class gets a new version; what is committed stays")
def test_a_changed_class_gets_a_new_version_and_the_old_file_stays(tmp_path: Path) -> None:
    """Records with the old id stay readable. A second export writes nothing."""
    export(catalogue(), tmp_path)
    before = files_of(tmp_path)

    (drift,) = drifts(deleted(WiderDeleted), FileRegistry(tmp_path))
    assert str(drift).startswith("document.deleted.v1.avsc differs from DocumentDeleted; run `streams schemas export`")
    (added,) = export(deleted(WiderDeleted), tmp_path)

    highest = max(registered.id for registered in FileRegistry())
    assert (added.id, added.version, added.file) == (highest + 1, 2, "document.deleted.v2.avsc")
    assert before.items() <= files_of(tmp_path).items()
    assert export(deleted(WiderDeleted), tmp_path) == []
    assert drifts(deleted(WiderDeleted), FileRegistry(tmp_path)) == []
    assert drifts(deleted(DocumentDeleted), FileRegistry(tmp_path))[0].replaces == "document.deleted.v2.avsc"


@pytest.mark.requirement(
    "Schema evolution",
    "`make check` fails, without a server, when a changed event could not be read by consumers of the "
    "last released schema or could not read its records",
)
def test_a_change_that_breaks_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """The message names the event, the field and the fix."""
    export(catalogue(), tmp_path)
    before, index = files_of(tmp_path), (tmp_path / INDEX).read_bytes()
    with pytest.raises(IncompatibleChangeError) as refused:
        export(deleted(NarrowerDeleted), tmp_path)
    assert str(refused.value) == (
        'document.deleted v2: field "doc_form" was removed, and consumers of v1 need it, because it has no default '
        "there: keep it"
    )
    assert (files_of(tmp_path), (tmp_path / INDEX).read_bytes()) == (before, index)


@pytest.mark.requirement("Schema evolution", "full and transitive by default, per event settable")
def test_an_event_may_ask_for_less(tmp_path: Path) -> None:
    """Old consumers do not get the removed field. The class declares that it only keeps backward compatibility."""

    class Backward(NarrowerDeleted):
        compatibility: ClassVar[Compatibility] = "BACKWARD"

    Backward.__name__ = "DocumentDeleted"
    export(catalogue(), tmp_path)
    assert [added.version for added in export(deleted(Backward), tmp_path)] == [2]


@pytest.mark.requirement("Schema evolution", "an event in the making is exported again and again")
def test_a_draft_is_replaced_until_it_is_made_for_good(tmp_path: Path) -> None:
    """A draft has its own id and file. A check fails while it is a draft."""

    class Widest(WiderDeleted):
        reason: str = ""

    Widest.__name__ = "DocumentDeleted"
    export(catalogue(), tmp_path)
    (first,) = export(deleted(WiderDeleted), tmp_path, draft=True)
    assert export(deleted(WiderDeleted), tmp_path, draft=True) == []
    (second,) = export(deleted(Widest), tmp_path, draft=True)
    assert (second.id, second.version, second.draft) == (first.id, first.version, True)
    (drift,) = drifts(deleted(Widest), FileRegistry(tmp_path))
    assert str(drift).startswith("document.deleted.v2.avsc is a draft; run `streams schemas export`")

    (last,) = export(deleted(Widest), tmp_path)

    assert (last.id, last.draft) == (first.id, False)
    assert drifts(deleted(Widest), FileRegistry(tmp_path)) == []
    assert "reason" in FileRegistry(tmp_path).versions("document.deleted-value")[-1].field_names


def test_what_a_class_allows_is_noted_once_for_versions_that_lack_it(tmp_path: Path) -> None:
    """In an index that an older export wrote. It creates no new version."""
    export(catalogue(), tmp_path)
    index = json.loads((tmp_path / INDEX).read_text(encoding="utf-8"))
    for newest in {row["subject"]: row for row in index["schemas"]}.values():
        del newest["allowed"]
    (tmp_path / INDEX).write_text(json.dumps(index), encoding="utf-8")

    assert str(drifts(catalogue(), FileRegistry(tmp_path))[0]).startswith("registry.json does not say which values")
    export(catalogue(), tmp_path)

    assert list(FileRegistry(tmp_path)) == list(FileRegistry())


@pytest.mark.requirement("Schema evolution", "what a class refuses though Avro reads it: texts of a Literal, bounds")
def test_a_value_more_is_a_version_more(tmp_path: Path) -> None:
    """For Avro it is a text in both versions, for the class it is not.

    The gate rejects it, or the export records it.
    """

    class Unit(MessageCreated):
        compatibility: ClassVar[Compatibility] = "BACKWARD"
        quota_unit: Literal["tokens", "credits", "times", "hours"] | None = None  # type: ignore[assignment] # wider

    Unit.__name__ = "MessageCreated"
    export(catalogue(), tmp_path)
    topic = Topic("message.created", Unit, key="app_id", pool="high")
    assert [added.version for added in export(catalogue(topic), tmp_path)] == [2]
    Unit.compatibility = "FULL"
    (found,) = incompatible(catalogue(topic), FileRegistry(tmp_path))
    assert str(found) == (
        "message.created v2: field \"quota_unit\" accepts more than in v1, whose consumers reject that ('hours'): keep "
        "what it accepts, or add another field with a default"
    )


def test_a_new_folder_starts_as_the_committed_registry(tmp_path: Path) -> None:
    """The built-in events keep their ids in a deployment with a separate registry."""
    folder = tmp_path / "registry"
    own = Topic("invoice.paid", WiderDeleted, key="document_id", pool="low")
    added = export(catalogue(*BUILT_IN, own), folder)
    assert [registered.subject for registered in added] == ["invoice.paid-value"]
    committed = {registered.id: registered for registered in FileRegistry()}
    extended = {registered.id: registered for registered in FileRegistry(folder)}
    assert committed.items() <= extended.items()
    assert len(extended) == len(committed) + 1


def test_the_topic_prefix_is_not_in_the_registry() -> None:
    """Deployments in one cluster share the schemas."""
    assert pending(catalogue(prefix="eu."), FileRegistry()) == []


def test_export_is_repeatable(tmp_path: Path) -> None:
    """Two exports write the same bytes."""
    export(catalogue(), tmp_path / "a")
    export(catalogue(), tmp_path / "b")
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert one == other
    assert one[INDEX].endswith(b"\n")


def test_an_event_that_avro_cannot_express_is_named() -> None:
    """The generator's own error would not name the event."""

    class Odd(Event):
        anything: object

    with pytest.raises(SchemaExportError, match="Odd cannot be expressed in Avro"):
        avro_schema(Odd)


def test_ids_go_on_after_the_highest() -> None:
    """Also if the highest id belongs to another subject or an older version."""
    known = [RegisteredSchema(41, "other-value", 1, "other.v1.avsc", {})]
    added = pending(catalogue(), known)
    assert [registered.id for registered in added] == list(range(42, 42 + len(BUILT_IN)))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.avsc")}


def fields_of(schema: dict[str, object]) -> list[dict[str, object]]:
    fields = schema["fields"]
    assert isinstance(fields, list)
    return fields


class Nothing(BaseModel):
    """A model without fields takes no bytes in Avro."""


@pytest.mark.requirement("Faults of others", "L5: an event with a list of things without bytes is not exported")
def test_an_event_with_a_list_of_models_without_fields_is_not_exported() -> None:
    class Listed(Event):
        """Ten bytes of it could announce any number of items."""

        things: list[Nothing]

    with pytest.raises(SchemaExportError, match="Listed cannot be an event: things: a list"):
        avro_schema(Listed)
