"""The packages that a deployment has: the dependencies of event-streams with its extras for production."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = "event-streams"
EXTRAS = ("worker", "dify", "s3", "encryption", "registry", "tracing", "sentry", "bridges")
"""All but `dev`, `examples` and `local`, which serve development."""
_LOCKED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?:.*\\\n)*.*\n", re.MULTILINE)


def dependencies() -> list[str]:
    """Return the names of the packages, sorted. They are read from the installed metadata.

    A package that only another Python or system needs is left out.
    """
    seen: dict[str, set[str]] = {}
    _add(PROJECT, set(EXTRAS), seen)
    return sorted(seen.keys() - {PROJECT})


def _add(name: str, extras: set[str], seen: dict[str, set[str]]) -> None:
    known = seen.setdefault(name, set())
    new = {"", *extras} - known
    known |= new
    if not new:
        return
    for text in distribution(name).requires or []:
        needed = Requirement(text)
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in new):
            _add(canonicalize_name(needed.name), needed.extras, seen)


def locked_requirements(names: list[str], lock: str) -> str:
    """Return the entries of a lock file, hashes included, for these packages.

    Raises:
        PackageNotFoundError: The lock does not have one of them.
    """
    entries: dict[str, str] = {canonicalize_name(entry["name"]): entry[0] for entry in _LOCKED.finditer(lock)}
    for name in names:
        if name not in entries:
            raise PackageNotFoundError(name)
    return "".join(entries[name] for name in names)
