"""Runs Apicurio Registry, a third-party registry with Confluent's API, with its content in memory."""

import os
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.maven import MavenContext

from streams.local.jars import cache_folder, sha256_of
from streams.local.java import find_java
from streams.local.process import ServerProcess, StartUp
from tests.support.local_stack.archives import unpack
from tests.support.processes.worker_process import free_port

NAME, VERSION = "apicurio-registry-app", "2.6.13.Final"
SHA256 = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"
"""The checksum of the archive with all jars (142 MB), which is downloaded once per user."""
API = "/apis/ccompat/v7"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Apicurio:
    """A running registry."""

    process: ServerProcess
    port: int

    @property
    def url(self) -> str:
        """The value for STREAMS_SCHEMA_REGISTRY_URL."""
        return f"http://127.0.0.1:{self.port}{API}"

    def answers(self) -> bool:
        """Return whether the registry answers."""
        try:
            return requests.get(f"{self.url}/subjects", timeout=2).ok
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """Kill the process. Its content is lost."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)


@contextmanager
def running_apicurio(folder: Path) -> Iterator[Apicurio]:
    """Unpack the registry into `folder` and run it for the duration of the block."""
    with tarfile.open(_archive(cache_folder(folder))) as archive:
        unpack(archive, folder / "apicurio")
    port = free_port()
    process = ServerProcess("Apicurio Registry", folder / "apicurio-run")
    running = Apicurio(process, port)
    program = str(folder / "apicurio" / f"{NAME}-{VERSION}-runner.jar")
    process.start([str(find_java().path), "-Xmx256m", f"-Dquarkus.http.port={port}", "-jar", program])
    try:
        process.wait_until(running.answers, StartUp(print), timeout=START_SECONDS)
        yield running
    finally:
        process.stop()


def _archive(cache: Path) -> Path:
    context = MavenContext(repo_cache=cache / "apicurio", timeout=60)
    component = context.project("io.apicurio", NAME).at_version(VERSION)
    fetched: Path = component.artifact("all", "tar.gz").resolve()
    assert sha256_of(fetched) == SHA256
    return fetched
