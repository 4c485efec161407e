"""Jars, Kafka's above all: fetched once a user, each checked against a committed list, then shared by all stacks."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from streams.local.folder_lock import LockBusyError, exclusive
from streams.local.process import StartUp

JAR_LIST = "kafka.jars"
_THREADS = 8
_TRIES = 3
_TELL_EVERY = 15
_REQUEST_TIMEOUT = 30
_LOCK_TIMEOUT = 300.0
_SCRATCH = ".fetch-"


class ArtifactError(Exception):
    """A jar cannot be had; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of a list: Maven's coordinates and the file's SHA-256 in hex."""

    group: str
    artifact: str
    version: str
    sha256: str
    classifier: str = ""
    """Which of an artifact's several files; most have one."""

    @property
    def filename(self) -> str:
        """The file's name, unique on the class path."""
        return "-".join(part for part in (self.artifact, self.version, self.classifier) if part) + ".jar"

    def __str__(self) -> str:
        parts = (self.group, self.artifact, self.version, self.classifier)
        return f"{':'.join(part for part in parts if part)} {self.sha256}"

    @classmethod
    def parse(cls, line: str) -> "Jar":
        """The jar of a line of a list."""
        coordinates, sha256 = line.split()
        group, artifact, version, *classifier = coordinates.split(":")
        return cls(group, artifact, version, sha256, *classifier)


def parse_jars(text: str) -> list[Jar]:
    """The jars of a list; lines that begin with # are for people."""
    return [Jar.parse(line) for line in text.splitlines() if line and not line.startswith("#")]


def locked_jars() -> list[Jar]:
    """The committed list of Kafka's; `make lock` writes it."""
    return parse_jars(files("streams.local").joinpath(JAR_LIST).read_text())


def cache_folder(fallback: Path) -> Path:
    """Where fetched files are kept for all stacks: the user's cache folder, or `fallback` if that is not writable."""
    configured = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(configured) if configured else Path.home() / ".cache") / "event-streams"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return fallback
    return folder if os.access(folder, os.W_OK) else fallback


def fetch_jars(cache: Path, start_up: StartUp, jars: list[Jar] | None = None, *, what: str = "Kafka") -> Path:
    """The folder that holds all jars of a list, fetching those that are missing or damaged. Raises ArtifactError.

    None: what Kafka runs on. `what`: whose they are, for people and as the folder's name.
    """
    jars = locked_jars() if jars is None else jars
    folder = cache / what.lower()
    missing = _missing(jars, folder)
    if not missing:
        return folder

    def waiting() -> None:
        start_up.say(f"{what}: another stack fetches it")

    try:
        with exclusive(folder / ".lock", timeout=_LOCK_TIMEOUT, on_wait=waiting):
            for left in folder.glob(f"{_SCRATCH}*"):
                shutil.rmtree(left, ignore_errors=True)
            _fetch_all(_missing(jars, folder), folder, start_up, what)
    except (OSError, LockBusyError) as error:
        raise ArtifactError(f"cannot keep {what}'s jars in {folder}: {error}") from error
    return folder


def sha256_of(path: Path) -> str:
    """A file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _missing(jars: list[Jar], folder: Path) -> list[Jar]:
    def is_missing(jar: Jar) -> bool:
        path = folder / jar.filename
        return not path.is_file() or sha256_of(path) != jar.sha256

    with ThreadPoolExecutor(_THREADS) as threads:
        return [jar for jar, missing in zip(jars, threads.map(is_missing, jars), strict=True) if missing]


def _fetch_all(jars: list[Jar], folder: Path, start_up: StartUp, what: str) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        fetches = [threads.submit(_fetch, jar, folder, what) for jar in jars]
        try:
            for count, fetch in enumerate(as_completed(fetches), start=1):
                fetch.result()
                if count % _TELL_EVERY == 0 or count == len(jars):
                    start_up.say(f"{what}: fetched {count} of {len(jars)} jars")
                if start_up.called_off.is_set():
                    break
        finally:
            threads.shutdown(cancel_futures=True)
    if start_up.called_off.is_set():
        raise ArtifactError("fetching its jars was called off")


def _fetch(jar: Jar, folder: Path, what: str) -> None:
    """Fetch, check, and only then move into place: what is in the folder is whole, whatever is killed when."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - it takes long to load, and most commands fetch nothing

    failure = ""
    for _ in range(_TRIES):
        with TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
            context = MavenContext(repo_cache=Path(scratch), timeout=_REQUEST_TIMEOUT)
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            try:
                artifact = component.artifact(jar.classifier) if jar.classifier else component.artifact()
                fetched = artifact.resolve()
            except (requests.RequestException, RuntimeError) as error:
                failure = f"the Maven repository does not give it ({type(error).__name__})"
                continue
            if sha256_of(fetched) == jar.sha256:
                fetched.replace(folder / jar.filename)
                return
            failure = "its checksum is not the one in the committed list"
    message = f"cannot fetch {jar.filename}, which the first start of {what} needs from the network: {failure}"
    raise ArtifactError(message)
