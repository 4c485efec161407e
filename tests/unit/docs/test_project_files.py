"""The files for contributors and the forge: what they name exists, and they say the same as the project itself."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.pages import ROOT, page

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):.*## ", MAKEFILE, re.MULTILINE))
WORKFLOW = ".github/workflows/ci.yml"
FORMS = ("bug", "feature")
INPUTS = {"input", "textarea", "dropdown", "checkboxes"}


def read(path: str) -> Any:  # noqa: ANN401 - YAML is anything
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def steps() -> list[dict[str, Any]]:
    return [step for job in read(WORKFLOW)["jobs"].values() for step in job["steps"]]


def made_by(text: str) -> set[str]:
    """The targets of the `make` commands in a text."""
    return set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))


@pytest.mark.requirement("Development", "`make help` lists the targets")
def test_make_help_lists_every_target() -> None:
    """A target without its line of help is found by nobody."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    shown = subprocess.run(["make", "-C", ROOT, "help"], check=True, capture_output=True, text=True).stdout
    listed = set(re.findall(r"^make ([a-z]+) +\S", shown, re.MULTILINE))
    assert listed == set(phony.split())
    assert {"setup", "unit", "test", "check", "format", "coverage"} <= listed


@pytest.mark.requirement(
    "Development",
    "a forge's CI for Python 3.11 to 3.13, pre-commit, issue and pull request templates, changelog",
)
def test_the_forge_runs_check_and_test_with_every_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = {text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text}
    assert {"3.11", "3.12", "3.13"} <= supported
    jobs = read(WORKFLOW)["jobs"]
    assert set(jobs) == {"check", "test"}
    for name, job in jobs.items():
        assert set(job["strategy"]["matrix"]["python"]) == supported
        assert f"make {name}" in [step.get("run") for step in job["steps"]]
        assert job["timeout-minutes"] <= 60


def test_what_the_forge_runs_is_a_target_of_make() -> None:
    commands = [step["run"] for step in steps() if "run" in step]
    assert commands
    assert [command for command in commands if made_by(command) - TARGETS or not made_by(command)] == []


def test_the_caches_are_keyed_by_files_that_exist() -> None:
    keys = [step["with"] for step in steps() if "cache" in str(step.get("with"))]
    patterns = {options["cache-dependency-path"] for options in keys if "cache-dependency-path" in options}
    patterns |= set(re.findall(r"hashFiles\('(.+?)'\)", str(keys)))
    assert len(patterns) == 2
    assert [pattern for pattern in patterns if not any(ROOT.glob(pattern))] == []


@pytest.mark.requirement(
    "Development",
    "a forge's CI for Python 3.11 to 3.13, pre-commit, issue and pull request templates, changelog",
)
def test_the_hooks_before_a_commit_are_tools_of_the_lock() -> None:
    """Local hooks alone: nothing is fetched, and a hook finds what `make check` finds."""
    config = read(".pre-commit-config.yaml")
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    locked = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    packages = {"lint-imports": "import-linter"}
    tools = [hook["entry"].split()[0] for hook in config["repos"][0]["hooks"] if hook["entry"].startswith(".venv/bin/")]
    assert len(tools) == 4
    for tool in map(Path, tools):
        assert f"\n{packages.get(tool.name, tool.name)}==" in locked
        assert re.search(rf"^\t@{tool.name}\b", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("name", FORMS)
def test_an_issue_form_asks_for_something(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    asked = [part for part in form["body"] if part["type"] in INPUTS]
    assert asked
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)


@pytest.mark.requirement(
    "Development",
    "a forge's CI for Python 3.11 to 3.13, pre-commit, issue and pull request templates, changelog",
)
def test_the_issue_forms_are_all_checked() -> None:
    found = {path.stem for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")}
    assert found - {"config"} == set(FORMS)


@pytest.mark.requirement("Development", "CONTRIBUTING has the style and the commands of a developer")
@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".github/pull_request_template.md"])
def test_the_commands_that_a_contributor_is_told_exist(name: str) -> None:
    told = made_by((ROOT / name).read_text(encoding="utf-8"))
    assert told
    assert told <= TARGETS


@pytest.mark.requirement(
    "Development",
    "a forge's CI for Python 3.11 to 3.13, pre-commit, issue and pull request templates, changelog",
)
def test_the_changelog_has_a_part_for_what_comes_next() -> None:
    """In the form of Keep a Changelog: newest first, each part under a known heading."""
    text = page("CHANGELOG.md").text
    versions = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.requirement("Faults of others", "L13: everything that make installs has a hash")
def test_everything_that_make_installs_has_a_hash() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert len(installs) > 3
    # The project itself comes from the checkout.
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []
