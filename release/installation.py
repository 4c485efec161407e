"""Installs the wheel in empty environments, one for each supported Python on this machine."""

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from shutil import which

from release.dependencies import ROOT

_PROBE = "import schemas, streams.publishing, streams.settings; print(streams.__version__)"


class InstallationError(Exception):
    """The wheel cannot be installed, or what it installs does not run."""


def supported_pythons(root: Path = ROOT) -> list[str]:
    """Return the versions that pyproject.toml names, such as `3.11`."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [text.rpartition(" ")[2] for text in project["classifiers"] if re.search(r"Python :: 3\.\d+$", text)]


def interpreters(versions: list[str], named: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each version with an interpreter that runs, or None.

    Args:
        versions: Such as `3.11`.
        named: Paths of interpreters that are not on the search path.
    """
    found = {_version(path): path for path in named}
    for version in versions:
        path = found.get(version) or which(f"python{version}")
        yield version, path if path and _version(path) == version else None


def _version(python: str) -> str | None:
    """Return the version of an interpreter; None if it does not run, such as a shim without its Python."""
    code = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - an interpreter that the caller names
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def install(python: str, wheel: Path, constraints: Path, folder: Path) -> str:
    """Install the wheel, first alone, then with the worker, and run both.

    Args:
        python: The interpreter to make the environment with.
        wheel: The wheel.
        constraints: The versions of the lock, in pip's form.
        folder: The place for the environment.

    Returns:
        The version that the installed command states.

    Raises:
        InstallationError: A step fails; with its last lines.
    """
    _run(python, "-m", "venv", "--clear", folder)
    bin_folder = folder / "bin"
    pip = (bin_folder / "python", "-m", "pip")
    _run(*pip, "install", "--quiet", "-c", constraints, wheel)
    _run(bin_folder / "python", "-c", _PROBE)
    _run(*pip, "install", "--quiet", "-c", constraints, f"{wheel}[worker]")
    _run(*pip, "check")
    return _run(bin_folder / "streams", "--version").split()[-1]


def _run(*command: str | Path) -> str:
    # Not in the checkout, where Python finds the sources.
    done = subprocess.run(list(map(str, command)), cwd="/", capture_output=True, text=True, timeout=900, check=False)  # noqa: S603 - commands of this module
    if done.returncode:
        raise InstallationError(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout
