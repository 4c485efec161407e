"""From event classes to Avro files: what is generated, and that nothing committed is ever changed."""

import json
from pathlib import Path

import fastavro
import pytest

from schemas import DocumentDeleted, Event
from schemas.registry import COMMITTED, INDEX, FileRegistry, RegisteredSchema
from streams.schema_export import SchemaExportError, avro_schema, drifts, export, pending
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue, Topic


class WiderDeleted(Event):
    """`DocumentDeleted` of a later release."""

    document_id: str
    dataset_id: str
    doc_form: str
    file_id: str | None = None
    batch: str | None = None


def catalogue(*topics: Topic, prefix: str = "") -> Catalogue:
    return Catalogue(topics or BUILT_IN, Settings(topic_prefix=prefix))


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
    """Else each export would write another time down; constant defaults stay, so that readers can fill them in."""
    fields = {field["name"]: field for field in fields_of(avro_schema(DocumentDeleted))}
    assert "default" not in fields["event_id"]
    assert "default" not in fields["occurred_at"]
    assert fields["file_id"]["default"] is None
    assert fields["event_id"]["type"] == {"type": "string", "logicalType": "uuid"}
    assert fields["occurred_at"]["type"] == {"type": "long", "logicalType": "timestamp-micros"}


def test_generated_schemas_are_valid_avro() -> None:
    """Each of them is taken by fastavro."""
    for topic in catalogue():
        fastavro.parse_schema(avro_schema(topic.event))


def test_a_changed_class_gets_a_new_version_and_the_old_file_stays(tmp_path: Path) -> None:
    """Records that carry the old id stay readable; a second export writes nothing."""
    first = catalogue(Topic("document.deleted", DocumentDeleted, key="document_id", pool="low"))
    export(catalogue(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.avsc")}
    widened = catalogue(Topic("document.deleted", WiderDeleted, key="document_id", pool="low"))

    (drift,) = drifts(widened, FileRegistry(tmp_path))
    assert str(drift).startswith("document.deleted.v1.avsc differs from WiderDeleted")
    (added,) = export(widened, tmp_path)

    highest = max(registered.id for registered in FileRegistry())
    assert (added.id, added.version, added.file) == (highest + 1, 2, "document.deleted.v2.avsc")
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert export(widened, tmp_path) == []
    assert drifts(widened, FileRegistry(tmp_path)) == []
    assert drifts(first, FileRegistry(tmp_path))[0].replaces == "document.deleted.v2.avsc"


def test_a_new_folder_starts_as_the_committed_registry(tmp_path: Path) -> None:
    """The built-in events keep their ids where a deployment keeps a registry of its own."""
    folder = tmp_path / "registry"
    own = Topic("invoice.paid", WiderDeleted, key="document_id", pool="low")
    added = export(catalogue(*BUILT_IN, own), folder)
    assert [registered.subject for registered in added] == ["invoice.paid-value"]
    committed = {registered.id: registered for registered in FileRegistry()}
    extended = {registered.id: registered for registered in FileRegistry(folder)}
    assert committed.items() <= extended.items()
    assert len(extended) == len(committed) + 1


def test_the_topic_prefix_is_not_in_the_registry() -> None:
    """Deployments that share a cluster share the schemas."""
    assert pending(catalogue(prefix="eu."), FileRegistry()) == []


def test_export_is_repeatable(tmp_path: Path) -> None:
    """Two exports write the same bytes."""
    export(catalogue(), tmp_path / "a")
    export(catalogue(), tmp_path / "b")
    one, other = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert one == other
    assert one[INDEX].endswith(b"\n")


def test_an_event_that_avro_cannot_express_is_named() -> None:
    """The generator's own error would not say which event."""

    class Odd(Event):
        anything: object

    with pytest.raises(SchemaExportError, match="Odd cannot be expressed in Avro"):
        avro_schema(Odd)


def test_ids_go_on_after_the_highest() -> None:
    """Also where the highest id belongs to another subject or an older version."""
    known = [RegisteredSchema(41, "other-value", 1, "other.v1.avsc", {})]
    added = pending(catalogue(), known)
    assert [registered.id for registered in added] == list(range(42, 42 + len(BUILT_IN)))


def fields_of(schema: dict[str, object]) -> list[dict[str, object]]:
    fields = schema["fields"]
    assert isinstance(fields, list)
    return fields
