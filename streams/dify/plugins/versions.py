"""Versions of plugins: ``major.minor.patch``, each an integer, with an optional suffix such as ``-beta``."""

import re
from typing import NamedTuple

_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})(-[0-9A-Za-z.-]{1,64})?")


class Version(NamedTuple):
    """A version. Versions compare by their numbers; a version with a suffix comes before the same one without it."""

    major: int
    minor: int
    patch: int
    released: bool
    """False: it has a suffix."""


def parse_version(text: str) -> Version | None:
    """Return the version; None: the text is not a version, so it cannot be compared."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    major, minor, patch, suffix = match.groups()
    return Version(int(major), int(minor), int(patch), suffix is None)


def may_upgrade(setting: str, current: Version, latest: Version) -> bool:
    """Return whether a strategy allows the upgrade. No strategy allows a downgrade.

    Args:
        setting: fix_only allows a higher patch of the same major and minor version, latest any higher version.
        current: The installed version.
        latest: The marketplace's version.
    """
    if latest <= current:
        return False
    return setting == "latest" or (setting == "fix_only" and latest[:2] == current[:2])
