"""`python -m release FOLDER` checks the files of a release: contents, installation, bill of materials, changelog."""

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

from release.changelog import release_faults, release_notes
from release.dependencies import ROOT, dependencies, locked_requirements
from release.distribution import Distributions
from release.installation import InstallationError, install, interpreters, supported_pythons

LOCK = ROOT / "requirements" / "dev.txt"


def main() -> int:
    """Run all checks; returns 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("folder", type=Path, help="has the wheel and the sdist; other files of the release go there")
    parser.add_argument("--tag", help="the tag of a release, such as v1.2.0; also checks the version and the changelog")
    parser.add_argument("--python", action="append", default=[], help="an interpreter that is not on the search path")
    options = parser.parse_args()
    folder: Path = options.folder
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    built = Distributions.of(folder)

    faults = built.faults()
    if options.tag:
        faults += release_faults(options.tag, version, changelog)
        (folder / "release-notes.md").write_text(release_notes(version, changelog) + "\n", encoding="utf-8")
    faults += _installation_faults(built.wheel, version, options.python)
    _write_bill_of_materials(folder / f"event-streams-{version}.cdx.json")
    for fault in faults:
        sys.stderr.write(f"release: {fault}\n")
    return 1 if faults else 0


def _installation_faults(wheel: Path, version: str, named: list[str]) -> list[str]:
    """Install the wheel with each Python; returns what failed. A Python that is not here is only reported."""
    faults = []
    locked = re.findall(r"^\S+==.*?(?= \\$)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    with TemporaryDirectory() as name:
        constraints = Path(name) / "constraints.txt"
        constraints.write_text("\n".join(locked), encoding="utf-8")
        for python, path in interpreters(supported_pythons(), named):
            if path is None:
                sys.stdout.write(f"Python {python} is not on this machine\n")
                continue
            try:
                stated = install(path, wheel.resolve(), constraints, Path(name) / python)
            except InstallationError as error:
                faults.append(f"Python {python}: {error}")
                continue
            sys.stdout.write(f"Python {python} installs and runs event-streams {stated}\n")
            if stated != version:
                faults.append(f"Python {python}: streams --version is {stated}, not {version}")
    return faults


def _write_bill_of_materials(file: Path) -> None:
    """Write the packages of a deployment with the versions and hashes of the lock, in the CycloneDX format."""
    requirements = locked_requirements(dependencies(), LOCK.read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--pyproject", str(ROOT / "pyproject.toml")]
    options = ["--mc-type", "library", "--output-reproducible", "--output-file", str(file), "-"]
    subprocess.run([*command, *options], input=requirements, text=True, check=True, timeout=300)  # noqa: S603 - a tool of the lock
    sys.stdout.write(f"{file.name} lists the packages of a deployment\n")


if __name__ == "__main__":
    sys.exit(main())
