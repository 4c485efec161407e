"""The list of the dependencies' licences, against the installed metadata and the lock."""

import re
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from release.dependencies import dependencies, locked_requirements
from release.licences import PAGE, Licence, licence, page
from tests.support.pages import ROOT

LOCK = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
CHECKED = {"certifi", "psycopg", "psycopg-binary", "tqdm"}
"""Not permissive, and fit for use as libraries: MPL-2.0 covers their own files, LGPL-3.0 a replaceable library."""


@pytest.mark.requirement("Development", "the licences of all dependencies are listed; those not permissive are flagged")
def test_the_page_has_the_licences_of_the_installed_metadata() -> None:
    listed = dict(re.findall(r"^\| ([\w.-]+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    here = {name: licence(name).expression for name in dependencies()}
    assert len(here) > 100
    assert {name: text for name, text in here.items() if name in listed and listed[name] != text} == {}


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page is of Python 3.11; others need other packages")
def test_the_page_is_generated() -> None:
    """`python -m release.licences` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.requirement("Development", "the licences of all dependencies are listed; those not permissive are flagged")
def test_no_dependency_has_an_unchecked_licence() -> None:
    """A new package whose licence is not permissive, or not known, is a decision."""
    found = map(licence, dependencies())
    assert {of.package for of in found if not of.is_permissive} <= CHECKED


@pytest.mark.parametrize(
    ("expression", "is_permissive"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-2.0-only OR MIT", True),
        ("GPL-2.0-only OR LGPL-2.1-only", False),
        ("MIT AND MPL-2.0", False),
        ("unknown", False),
    ],
)
def test_what_is_permissive(expression: str, is_permissive: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    assert Licence("p", expression).is_permissive is is_permissive


@pytest.mark.requirement("Development", "a release has a bill of materials, from the lock")
def test_the_bill_of_materials_has_each_dependency_with_its_hashes() -> None:
    names = dependencies()
    entries = re.findall(r"^([\w.-]+)==", text := locked_requirements(names, LOCK), re.MULTILINE)
    assert [entry.lower().replace("_", "-").replace(".", "-") for entry in entries] == names
    assert text.count("--hash=sha256:") >= len(names)
    assert "mypy==" not in text


def test_a_dependency_without_a_lock_is_an_error() -> None:
    with pytest.raises(PackageNotFoundError, match="no-such-package"):
        locked_requirements(["no-such-package"], LOCK)
