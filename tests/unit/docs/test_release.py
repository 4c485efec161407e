"""The checks of a release find what they are for: wrong files in a wheel, a tag or a changelog that does not fit."""

import io
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from release.changelog import release_faults, release_notes
from release.distribution import Distributions
from release.installation import interpreters

CHECKS = pytest.mark.requirement("Development", "a release is checked: contents, installation, version, changelog")
CHANGELOG = (
    "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n### Added\n\n- A thing.\n\n## [1.1.0] - 2026-01-01\n"
)
FILES = {
    *("streams/py.typed", "schemas/py.typed", "streams/database/migrations/env.py", "schemas/avro/a.avsc"),
    *("LICENSE", "pyproject.toml"),
}


def made(folder: Path, *, without: str = "", plus: str = "") -> tuple[Distributions, Path]:
    """A wheel and an sdist of a small checkout, with one file less or more."""
    checkout = folder / "checkout"
    for name in FILES:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    inside = sorted({*FILES, plus} - {without, ""})
    with ZipFile(folder / "p-1-py3-none-any.whl", "w") as wheel:
        for name in inside:
            if name.startswith(("streams", "schemas")) or name == plus:
                wheel.writestr(name, "")
        wheel.writestr("p-1.dist-info/licenses/LICENSE", "")
    with tarfile.open(folder / "p-1.tar.gz", "w:gz") as sdist:
        for name in inside:
            sdist.addfile(tarfile.TarInfo(f"p-1/{name}"), io.BytesIO())
    return Distributions.of(folder), checkout


@CHECKS
def test_complete_files_have_no_fault(tmp_path: Path) -> None:
    built, checkout = made(tmp_path)
    assert built.faults(checkout) == []


@CHECKS
@pytest.mark.parametrize("name", ["streams/py.typed", "schemas/avro/a.avsc", "streams/database/migrations/env.py"])
def test_a_missing_file_is_a_fault_of_both(tmp_path: Path, name: str) -> None:
    built, checkout = made(tmp_path, without=name)
    assert built.faults(checkout) == [f"p-1-py3-none-any.whl: {name} is missing", f"p-1.tar.gz: {name} is missing"]


@CHECKS
def test_tests_in_the_wheel_are_a_fault(tmp_path: Path) -> None:
    built, checkout = made(tmp_path, plus="tests/test_a.py")
    assert built.faults(checkout) == ["p-1-py3-none-any.whl: tests/test_a.py does not belong there"]


def test_a_folder_without_both_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="one wheel and one sdist"):
        Distributions.of(tmp_path)


@CHECKS
def test_a_tag_that_fits_has_its_notes() -> None:
    assert list(release_faults("v1.2.0", "1.2.0", CHANGELOG)) == []
    assert release_notes("1.2.0", CHANGELOG) == "### Added\n\n- A thing."


@CHECKS
@pytest.mark.parametrize(
    ("tag", "version", "changelog", "fault"),
    [
        ("v1.3.0", "1.2.0", CHANGELOG, "the tag must be v1.2.0"),
        ("1.2.0", "1.2.0", CHANGELOG, "the tag must be v1.2.0"),
        ("v1.2", "1.2", CHANGELOG, "is not a version"),
        ("v1.3.0", "1.3.0", CHANGELOG, "must begin with the sections"),
        ("v1.2.0", "1.2.0", CHANGELOG.replace(" - 2026-01-31", ""), "needs its date"),
        ("v1.2.0", "1.2.0", CHANGELOG.replace("[Unreleased]\n", "[Unreleased]\n- More.\n"), "belongs to"),
        ("v1.2.0", "1.2.0", CHANGELOG.replace("### Added\n\n- A thing.\n", ""), "is empty"),
    ],
)
def test_what_keeps_a_tag_from_being_a_release(tag: str, version: str, changelog: str, fault: str) -> None:
    assert any(fault in found for found in release_faults(tag, version, changelog))


def test_an_interpreter_that_does_not_run_is_not_there(tmp_path: Path) -> None:
    """Such as a shim of a version that is not chosen."""
    shim = tmp_path / "python3.99"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert list(interpreters(["3.99"], [str(shim)])) == [("3.99", None)]
