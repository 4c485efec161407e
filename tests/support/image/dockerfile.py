"""Reads the Dockerfile: its stages, and the instructions of each."""

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.support.pages import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, such as RUN, and its text."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Return the words of the text, or those of its JSON form."""
        found = json.loads(self.text) if self.text.startswith("[") else self.text.split()
        assert isinstance(found, list)
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """The instructions after one FROM. `name` is empty for the last stage."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def last(self, name: str) -> Instruction:
        """Return the last instruction with this name."""
        return [one for one in self.instructions if one.name == name][-1]


def read_stages(text: str = DOCKERFILE) -> list[Stage]:
    """Return the stages of a Dockerfile, with the values of its arguments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in joined:
        name, _, rest = line.partition(" ")
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        elif name == "FROM":
            base, _, alias = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], rest).partition(" AS ")
            stages.append(Stage(base, alias, ()))
        else:
            stage = stages.pop()
            stages.append(Stage(stage.base, stage.name, (*stage.instructions, Instruction(name, rest.strip()))))
    return stages


def is_sent(path: PurePosixPath) -> bool:
    """Return whether .dockerignore lets a file of the project through. The last pattern that matches decides."""
    sent = True
    for line in _IGNORED:
        pattern = line.removeprefix("!")
        names = [str(path), *(str(parent) for parent in path.parents if parent != PurePosixPath())]
        if any(_matches(name, pattern) for name in names):
            sent = line.startswith("!")
    return sent


def _matches(name: str, pattern: str) -> bool:
    """Return whether a pattern names a path. `**/` stands for any folders, `*` for one name."""
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(PurePosixPath(name).name, pattern.removeprefix("**/"))
    return len(PurePosixPath(name).parts) == len(PurePosixPath(pattern).parts) and fnmatch.fnmatch(name, pattern)
