"""The rules that the version and the changelog of a release keep."""

import re
from collections.abc import Iterator

_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")
_SECTION = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\S+))?$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def release_faults(tag: str, version: str, changelog: str) -> Iterator[str]:
    """Yield what keeps a tag from being a release.

    Args:
        tag: The tag of the release, such as `v1.2.0`.
        version: The version that pyproject.toml states.
        changelog: The text of CHANGELOG.md.
    """
    if not _VERSION.fullmatch(version):
        yield f"pyproject.toml: {version} is not a version like 1.2.0 or 1.2.0rc1"
    if tag != f"v{version}":
        yield f"the tag is {tag}, and the version in pyproject.toml is {version}: the tag must be v{version}"
    sections = list(_SECTION.finditer(changelog))
    names = [section["name"] for section in sections]
    if names[:2] != ["Unreleased", version]:
        yield f"CHANGELOG.md must begin with the sections [Unreleased] and [{version}], and begins with {names[:2]}"
        return
    if not _DATE.fullmatch(sections[1]["date"] or ""):
        yield f"CHANGELOG.md: the section [{version}] needs its date, as ## [{version}] - 2026-01-31"
    if changelog[sections[0].end() : sections[1].start()].strip():
        yield f"CHANGELOG.md: what is under [Unreleased] belongs to [{version}]"
    if not release_notes(version, changelog):
        yield f"CHANGELOG.md: the section [{version}] is empty"


def release_notes(version: str, changelog: str) -> str:
    """Return the text of a version's section, without its heading; empty if there is none."""
    sections = list(_SECTION.finditer(changelog))
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        if section["name"] == version:
            return changelog[section.end() : following.start() if following else None].strip()
    return ""
