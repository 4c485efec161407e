"""Today's classes can read every version that was ever committed, from exactly the bytes that were written."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from schemas.registry import FileRegistry, RegisteredSchema
from streams.codec import build_codec
from streams.codec.writer_schema import MAGIC
from tests.contract import golden
from tests.support.factories import CATALOGUE, SETTINGS

CODEC = build_codec(SETTINGS, CATALOGUE)
REGISTRY = FileRegistry()
EACH_VERSION = pytest.mark.parametrize("version", list(REGISTRY), ids=lambda version: Path(version.file).stem)
TOPICS = {CATALOGUE.subject(topic.name): topic for topic in CATALOGUE}


@pytest.mark.requirement("Schema evolution", "golden bytes of every version are kept and read back")
@EACH_VERSION
def test_each_version_has_golden_bytes(version: RegisteredSchema) -> None:
    """At least two records. They are created once, together with the version."""
    kept = golden.samples(version)
    assert len(kept) >= 2, f"{version.file} has no golden bytes: run `{golden.MAKE}` and commit what it writes"
    assert all(one.hex for one in kept), f"{golden.file_of(version).name} lacks bytes: run `{golden.MAKE}`"


@pytest.mark.requirement("Schema evolution", "readers resolve old writers' schemas")
@EACH_VERSION
def test_golden_bytes_are_read_by_today_s_class(version: RegisteredSchema) -> None:
    """The values that were written are read again. Later fields have their defaults."""
    topic = TOPICS.get(version.subject)
    if topic is None:
        pytest.fail(f"{version.subject} has no topic in the catalogue: its records could not be read")
    defaults = topic.event.model_fields
    for sample in golden.samples(version):
        event = CODEC.decode(topic.name, MAGIC + version.id.to_bytes(4, "big") + sample.data)
        read = json.loads(event.model_dump_json())
        times = {name: value for name, value in dict(event).items() if isinstance(value, datetime)}
        read |= {name: round(value.timestamp() * 1_000_000) for name, value in times.items()}
        came_later = set(defaults) - set(sample.values)
        assert {name: read[name] for name in read if name in sample.values} == {
            name: value for name, value in sample.values.items() if name in defaults
        }
        assert {name: getattr(event, name) for name in came_later} == {
            name: defaults[name].get_default(call_default_factory=True) for name in came_later
        }


@pytest.mark.requirement("Schema evolution", "golden bytes of every version are kept and read back")
@EACH_VERSION
def test_the_newest_version_is_written_as_it_was(version: RegisteredSchema) -> None:
    """The bytes of an event change only with its schema."""
    if REGISTRY.latest(version.subject) != version:
        return
    topic = TOPICS[version.subject]
    prefix = MAGIC + version.id.to_bytes(4, "big")
    for sample in golden.samples(version):
        assert CODEC.encode(CODEC.decode(topic.name, prefix + sample.data)).value == prefix + sample.data


def test_no_golden_bytes_are_left_over() -> None:
    """A file without a version belongs to a draft, or the version was removed, which is not allowed."""
    assert {path.name for path in golden.FOLDER.glob("*.json")} == {golden.file_of(one).name for one in REGISTRY}


@pytest.mark.requirement("Schema evolution", "golden bytes of every version are kept and read back")
def test_bytes_that_are_there_are_never_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only missing ones are created: a file, or the bytes of values that were written by hand."""
    monkeypatch.setattr(golden, "FOLDER", tmp_path)
    assert len(golden.make_missing(REGISTRY)) == len(list(REGISTRY))
    version = next(iter(REGISTRY))
    path = golden.file_of(version)
    rows = json.loads(path.read_text(encoding="utf-8"))
    rows[0]["hex"] = "00"
    rows[1] = {"values": {**rows[1]["values"], "tenant_id": "by hand"}}
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert golden.make_missing(REGISTRY) == [path]
    first, second = golden.samples(version)
    assert first.hex == "00"
    assert b"by hand" in second.data
    assert golden.make_missing(REGISTRY) == []
