"""The lock files match pyproject.toml, contain hashes, and do not name the source of packages."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from streams.local.jars import committed_jars

ROOT = Path(__file__).parents[3]
LOCKS = [ROOT / "requirements" / name for name in ("build.txt", "dev.txt")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ASKED_FOR = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]


def locked_versions() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)==([^ ;\\]+)", LOCKS[1].read_text()):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


@pytest.mark.requirement("A new user's two commands", "the environment comes from a lock with hashes")
@pytest.mark.parametrize("line", ASKED_FOR)
def test_the_lock_has_a_version_that_pyproject_allows(line: str) -> None:
    requirement = Requirement(line)
    versions = locked_versions().get(canonicalize_name(requirement.name), [])
    assert any(version in requirement.specifier for version in versions), f"{line}: locked {versions}, run make lock"


@pytest.mark.requirement("A new user's two commands", "the environment comes from a lock with hashes")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_has_a_hash(lock: Path) -> None:
    for entry in re.split(r"(?m)^(?=[a-z0-9])", lock.read_text())[1:]:
        assert "--hash=sha256:" in entry, entry


@pytest.mark.requirement("A new user's two commands", "no file has a registry's address")
@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_no_lock_names_an_address(lock: Path) -> None:
    assert re.findall(r"(?i)://|index-url|find-links|trusted-host", lock.read_text()) == []


def test_the_lock_holds_what_builds_the_project() -> None:
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for requirement in map(Requirement, backend):
        assert any(version in requirement.specifier for version in locked_versions()[requirement.name])


@pytest.mark.requirement("A new user's two commands", "Kafka's jars are checked against committed sums")
def test_every_jar_of_kafka_has_a_checksum_and_a_name_of_its_own() -> None:
    jars = committed_jars()
    assert [jar for jar in jars if not re.fullmatch(r"[0-9a-f]{64}", jar.sha256)] == []
    assert len({jar.filename for jar in jars}) == len(jars)
    assert {"kafka_2.13-4.4.0.jar", "kafka-clients-4.4.0.jar"} <= {jar.filename for jar in jars}
    assert any(jar.artifact == "slf4j-simple" for jar in jars), "a broker that fails must be able to say why"
