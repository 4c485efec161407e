"""The committed registry, and the errors of an invalid one."""

import json
from pathlib import Path

import pytest

from schemas.registry import COMMITTED, INDEX, FileRegistry, RegistryError, registry_folder


@pytest.mark.requirement("Schemas", "a committed file registry gives ids")
def test_committed_ids_and_versions_are_unique() -> None:
    """An id always means the same schema, and a version number the same version of its subject."""
    index = json.loads((COMMITTED / INDEX).read_text(encoding="utf-8"))["schemas"]
    ids = [row["id"] for row in index]
    assert len(set(ids)) == len(ids) > 0
    versions = [(row["subject"], row["version"]) for row in index]
    assert len(set(versions)) == len(versions)
    assert {path.name for path in COMMITTED.glob("*.avsc")} == {row["file"] for row in index}


@pytest.mark.requirement("Schemas", "a committed file registry gives ids")
def test_schemas_are_found_by_id_and_by_subject() -> None:
    """Both ways return the same schema. An unknown one is None."""
    registry = FileRegistry()
    latest = registry.latest("document.deleted-value")
    assert latest is not None
    assert latest.schema["name"] == "DocumentDeleted"
    assert registry.by_id(latest.id) == latest
    assert registry.by_id(999_999) is None
    assert registry.latest("document.undeleted-value") is None


def test_the_newest_version_is_the_latest(tmp_path: Path) -> None:
    """In any order of the rows."""
    write(tmp_path, [row(3, "a-value", 2), row(1, "a-value", 1), row(2, "b-value", 1)])
    registry = FileRegistry(tmp_path)
    latest = registry.latest("a-value")
    assert latest is not None
    assert (latest.id, latest.version) == (3, 2)
    assert [registered.id for registered in registry] == [1, 2, 3]


def test_an_id_given_twice_is_refused(tmp_path: Path) -> None:
    """Records with this id would be ambiguous."""
    write(tmp_path, [row(1, "a-value", 1), row(1, "b-value", 1)])
    with pytest.raises(RegistryError, match="id 1 is given twice"):
        FileRegistry(tmp_path)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    """One line with the path, and the command that creates the file."""
    with pytest.raises(RegistryError, match=r"registry\.json: No such file .* `streams schemas export`"):
        FileRegistry(tmp_path)
    (tmp_path / INDEX).write_text("{", encoding="utf-8")
    with pytest.raises(RegistryError, match=r"registry\.json is not JSON"):
        FileRegistry(tmp_path)
    (tmp_path / INDEX).write_text('{"schemas": [{"id": "1"}]}', encoding="utf-8")
    with pytest.raises(RegistryError, match="needs id, subject, version and file"):
        FileRegistry(tmp_path)
    write(tmp_path, [row(1, "a-value", 1)])
    (tmp_path / "a-value.v1.avsc").unlink()
    with pytest.raises(RegistryError, match=r"a-value\.v1\.avsc: No such file"):
        FileRegistry(tmp_path)


def test_a_url_means_a_folder(tmp_path: Path) -> None:
    """`file:` is the committed registry. An HTTP registry has no folder."""
    assert registry_folder("file:") == COMMITTED
    assert registry_folder(f"file:{tmp_path}") == registry_folder(f"file://{tmp_path}") == tmp_path
    with pytest.raises(RegistryError, match="is not a registry URL"):
        registry_folder("ftp://registry:8081")


def row(schema_id: int, subject: str, version: int) -> dict[str, object]:
    return {"id": schema_id, "subject": subject, "version": version, "file": f"{subject}.v{version}.avsc"}


def write(folder: Path, rows: list[dict[str, object]]) -> None:
    (folder / INDEX).write_text(json.dumps({"schemas": rows}), encoding="utf-8")
    for listed in rows:
        (folder / str(listed["file"])).write_text('{"type": "record"}', encoding="utf-8")


def test_a_file_that_is_nested_without_end_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "registry.json").write_text("[" * 100_000)
    with pytest.raises(RegistryError, match="is not JSON"):
        FileRegistry(tmp_path)
