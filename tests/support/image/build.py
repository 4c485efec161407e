"""Runs the steps of the Dockerfile in an empty folder that stands for the root of the file system.

An absolute path in a step leads into the folder. All stages use the same folder, one after the other, because all
stages of a real build have the same paths. The folder of a stage that has ended is moved away, so a last stage that
still needs something of an earlier one fails.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

from tests.support.image.dockerfile import Instruction, Stage, is_sent
from tests.support.pages import ROOT

_ABSOLUTE = re.compile(r"(?<![\w./*-])/(?=(?:app|build|etc|home|opt|srv|tmp|usr|var)\b)")
_SYSTEM_PATH = "/usr/bin:/bin"
BUILD_SECONDS = 500
COMMAND_SECONDS = 100


def package_settings() -> dict[str, str]:
    """Return the variables by which this machine reaches packages."""
    names = [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("proxy")]
    return {name: os.environ[name] for name in names}


class ImageBuild:
    """The file system and the configuration of an image while it is built, and afterwards.

    Args:
        folder: An empty folder that every user can read.
        interpreter: The Python of the base image.
    """

    def __init__(self, folder: Path, interpreter: Path) -> None:
        self.root = folder / "root"
        self._former = folder / "former"
        self._interpreter = interpreter
        self.environment: dict[str, str] = {}
        self.working = self.root
        self.user: int | None = None

    def build(self, stages: list[Stage]) -> None:
        """Run all stages. Raises AssertionError with the output of a step that fails."""
        for stage in stages:
            self._begin()
            for instruction in stage.instructions:
                self._follow(instruction)
            if stage is not stages[-1]:
                self._former.mkdir(exist_ok=True)
                self.root.rename(self._former / stage.name)

    def mapped(self, text: str) -> str:
        """Return a text whose absolute paths lead into the folder."""
        return _ABSOLUTE.sub(lambda _: f"{self.root}/", text)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the finished image to its end. Returns its exit code, output and errors."""
        process = self.start(*command, **environment)
        output, errors = process.communicate(timeout=COMMAND_SECONDS)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command of the finished image as its user, with the image's variables and these, and no others."""
        return subprocess.Popen(
            [self.mapped(word) for word in command],
            env={"PATH": self._path(), **self.environment, **environment},
            cwd=self.working,
            user=self.user,
            group=self.user,
            extra_groups=[],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _begin(self) -> None:
        """Make what the base image has: Python in /usr/local, and /tmp."""
        self.root.mkdir()
        self.environment, self.working, self.user = {}, self.root, None
        (self.root / "tmp").mkdir()
        (self.root / "tmp").chmod(0o1777)
        python = self.root / "usr" / "local"
        subprocess.run([self._interpreter, "-m", "venv", python], check=True, timeout=COMMAND_SECONDS)

    def _path(self) -> str:
        return f"{self.root}/usr/local/bin:{_SYSTEM_PATH}"

    def _follow(self, instruction: Instruction) -> None:
        match instruction.name:
            case "RUN":
                self._run(instruction.text)
            case "COPY":
                self._copy(instruction.words)
            case "WORKDIR":
                self.working = Path(self.mapped(instruction.text))
                self.working.mkdir(parents=True, exist_ok=True)
            case "ENV":
                for word in instruction.words:
                    name, _, value = word.partition("=")
                    self.environment[name] = self.mapped(value).replace("$PATH", self._path())
            case "USER":
                self.user = int(instruction.text.partition(":")[0])
            case "ENTRYPOINT" | "CMD" | "HEALTHCHECK":
                pass
            case _:
                message = f"this reader does not know {instruction.name}"
                raise AssertionError(message)

    def _run(self, text: str) -> None:
        own = {"PATH": self._path(), "HOME": os.environ["HOME"], **package_settings(), **self.environment}
        done = subprocess.run(
            ["/bin/sh", "-c", self.mapped(text)],
            env=own,
            cwd=self.working,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"RUN {text}\n{(done.stdout + done.stderr)[-3000:]}"

    def _copy(self, words: list[str]) -> None:
        stage = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
        *sources, target = [word for word in words if not word.startswith("--")]
        into = target.endswith("/") or len(sources) > 1
        place = Path(self.mapped(target)) if target.startswith("/") else self.working / target
        for source in sources:
            if stage is None:
                self._send(PurePosixPath(source), place / PurePosixPath(source).name if into else place)
            else:
                shutil.copytree(self._former / stage / source.lstrip("/"), place, symlinks=True)

    @staticmethod
    def _send(source: PurePosixPath, place: Path) -> None:
        """Copy a file or folder of the project, but not what .dockerignore leaves out."""
        here = ROOT / source
        files = [here] if here.is_file() else [path for path in sorted(here.rglob("*")) if path.is_file()]
        sent = [path for path in files if is_sent(PurePosixPath(path.relative_to(ROOT)))]
        assert sent, f"COPY {source}: .dockerignore leaves nothing of it"
        for path in sent:
            copy = place / path.relative_to(here)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)


def reachable_interpreter(user: int) -> Path | None:
    """Return an interpreter that another user can run: this one, or the system's; None: there is none."""
    for candidate in (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3"):
        if _can_run(candidate, user):
            return Path(candidate)
    return None


def _can_run(interpreter: str, user: int) -> bool:
    """Return whether a user can run a Python that is new enough and makes environments."""
    program = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    try:
        return (
            subprocess.run(
                [interpreter, "-c", program],
                user=user,
                group=user,
                extra_groups=[],
                cwd="/",
                capture_output=True,
                check=False,
                timeout=COMMAND_SECONDS,
            ).returncode
            == 0
        )
    except OSError:  # it is not there, or a folder above it is closed to the user
        return False
