"""Fetches jars, mainly Kafka's: once per user, verified with a committed list, shared by all stacks."""

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
_REPORT_EVERY = 15
_REQUEST_TIMEOUT = 30
_LOCK_TIMEOUT = 300.0
_SCRATCH = ".fetch-"


class ArtifactError(Exception):
    """A jar cannot be fetched. The message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of a list: the Maven coordinates and the SHA-256 of the file in hex."""

    group: str
    artifact: str
    version: str
    sha256: str
    classifier: str = ""
    """The file of an artifact with several files; usually empty."""

    @property
    def filename(self) -> str:
        """Return the file name, unique on the class path."""
        return "-".join(part for part in (self.artifact, self.version, self.classifier) if part) + ".jar"

    def __str__(self) -> str:
        parts = (self.group, self.artifact, self.version, self.classifier)
        return f"{':'.join(part for part in parts if part)} {self.sha256}"

    @classmethod
    def parse(cls, line: str) -> "Jar":
        """Parse a line of a list."""
        coordinates, sha256 = line.split()
        group, artifact, version, *classifier = coordinates.split(":")
        return cls(group, artifact, version, sha256, *classifier)


def parse_jars(text: str) -> list[Jar]:
    """Parse a list. Lines that start with # are comments."""
    return [Jar.parse(line) for line in text.splitlines() if line and not line.startswith("#")]


def committed_jars() -> list[Jar]:
    """Return the committed list of Kafka's jars; `make lock` writes it."""
    return parse_jars(files("streams.local").joinpath(JAR_LIST).read_text())


def cache_folder(fallback: Path) -> Path:
    """Return the cache folder for all stacks: the user's cache folder, or `fallback` if that is not writable."""
    configured = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(configured) if configured else Path.home() / ".cache") / "event-streams"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return fallback
    return folder if os.access(folder, os.W_OK) else fallback


def fetch_jars(cache: Path, start_up: StartUp, jars: list[Jar] | None = None, *, what: str = "Kafka") -> Path:
    """Return the folder with all jars of a list, after fetching missing or damaged ones.

    Args:
        cache: the cache folder.
        start_up: receives progress, and may cancel the download.
        jars: the jars; None: the jars of Kafka.
        what: the name of the program, for messages and as the folder's name.

    Raises:
        ArtifactError: a jar cannot be fetched.
    """
    jars = committed_jars() if jars is None else jars
    folder = cache / what.lower()
    missing = _missing(jars, folder)
    if not missing:
        return folder

    def waiting() -> None:
        start_up.report(f"{what}: waiting for another stack that is fetching it")

    try:
        with exclusive(folder / ".lock", timeout=_LOCK_TIMEOUT, on_wait=waiting):
            for left in folder.glob(f"{_SCRATCH}*"):
                shutil.rmtree(left, ignore_errors=True)
            _fetch_all(_missing(jars, folder), folder, start_up, what)
    except (OSError, LockBusyError) as error:
        raise ArtifactError(f"cannot store {what}'s jars in {folder}: {error}") from error
    return folder


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
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
                if count % _REPORT_EVERY == 0 or count == len(jars):
                    start_up.report(f"{what}: fetched {count} of {len(jars)} jars")
                if start_up.cancelled.is_set():
                    break
        finally:
            threads.shutdown(cancel_futures=True)
    if start_up.cancelled.is_set():
        raise ArtifactError("the download of the jars was cancelled")


def _fetch(jar: Jar, folder: Path, what: str) -> None:
    """Fetch a jar, check it, then move it into place. So every file in the folder is complete, even after a kill."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - the import is slow, and most commands fetch nothing

    failure = ""
    for _ in range(_TRIES):
        with TemporaryDirectory(dir=folder, prefix=_SCRATCH) as scratch:
            context = MavenContext(repo_cache=Path(scratch), timeout=_REQUEST_TIMEOUT)
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            try:
                artifact = component.artifact(jar.classifier) if jar.classifier else component.artifact()
                fetched = artifact.resolve()
            except (requests.RequestException, RuntimeError) as error:
                failure = f"the Maven repository did not return it ({type(error).__name__})"
                continue
            if sha256_of(fetched) == jar.sha256:
                fetched.replace(folder / jar.filename)
                return
            failure = "its checksum differs from the committed list"
    message = f"cannot fetch {jar.filename} from the network for the first start of {what}: {failure}"
    raise ArtifactError(message)
