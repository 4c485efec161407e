"""What the wheel and the sdist of a release contain."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from release.dependencies import ROOT

PACKAGES = ("streams", "schemas")
SDIST_ONLY = {"tests", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
NEEDED = ("streams/py.typed", "schemas/py.typed", "streams/database/migrations/env.py")
_BUILT = {"__pycache__"}


@dataclass(frozen=True, slots=True)
class Distributions:
    """The two files of a release, as one build made them."""

    wheel: Path
    sdist: Path

    @classmethod
    def of(cls, folder: Path) -> "Distributions":
        """Find them in a folder.

        Raises:
            FileNotFoundError: The folder does not have exactly one of each.
        """
        wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
        if len(wheels) != 1 or len(sdists) != 1:
            raise FileNotFoundError(f"{folder} must have one wheel and one sdist, and has {len(wheels)}, {len(sdists)}")
        return cls(wheels[0], sdists[0])

    def faults(self, root: Path = ROOT) -> list[str]:
        """Return what is missing in the files or does not belong there, compared with the sources in a checkout."""
        return [*_wheel_faults(self.wheel, root), *_sdist_faults(self.sdist, root)]


def package_files(root: Path) -> set[str]:
    """Return the files of the packages in a checkout, the Avro schemas and migrations included."""
    return {
        str(path.relative_to(root))
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and not _BUILT & {*path.parts}
    }


def _wheel_faults(wheel: Path, root: Path) -> Iterator[str]:
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    inside = {name for name in names if not name.partition("/")[0].endswith(".dist-info")}
    sources = package_files(root)
    yield from (f"{wheel.name}: {name} is missing" for name in sorted({*sources, *NEEDED} - inside))
    yield from (f"{wheel.name}: {name} does not belong there" for name in sorted(inside - sources))
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield f"{wheel.name}: the licence is missing"


def _sdist_faults(sdist: Path, root: Path) -> Iterator[str]:
    with tarfile.open(sdist) as archive:
        inside = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    sources = package_files(root)
    yield from (f"{sdist.name}: {name} is missing" for name in sorted({*sources, "pyproject.toml", "LICENSE"} - inside))
    strangers = {name for name in inside - sources if name.partition("/")[0] not in SDIST_ONLY}
    yield from (f"{sdist.name}: {name} does not belong there" for name in sorted(strangers))
