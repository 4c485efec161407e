"""Writes the list of Kafka's jars with their checksums: `python -m streams.local.jar_lock`, called by `make lock`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from jgo.maven import MavenContext, Model

from streams.local.jars import JAR_LIST, Jar, sha256_of

KAFKA_VERSION = "4.4.0"
_LOGGING_BINDING = ("org.slf4j", "slf4j-simple")
"""Kafka's artifact has no logging backend. Without one, a broker that fails logs nothing."""
_LOGGING_API = "slf4j-api"


def resolve(version: str, cache: Path) -> list[Jar]:
    """Return every jar that a broker of this version needs at run time, sorted by coordinates."""
    context = MavenContext(repo_cache=cache, timeout=60)
    kafka = context.project("org.apache.kafka", "kafka_2.13").at_version(version)
    dependencies, _ = Model(kafka.pom(), context).dependencies()
    components = [kafka, *(found.artifact.component for found in dependencies if found.scope in {"compile", "runtime"})]
    api = next(component for component in components if component.artifactId == _LOGGING_API)
    components.append(context.project(*_LOGGING_BINDING).at_version(api.version))
    jars = [
        Jar(part.groupId, part.artifactId, part.version, sha256_of(part.artifact().resolve())) for part in components
    ]
    return sorted(jars, key=str)


def main() -> None:
    """Resolve the jars and write the list next to this file."""
    with TemporaryDirectory() as scratch:
        jars = resolve(KAFKA_VERSION, Path(scratch))
    lines = [
        f"# What a broker of Apache Kafka {KAFKA_VERSION} runs on, with SHA-256. Written by `make lock`.",
        *map(str, jars),
    ]
    Path(__file__).with_name(JAR_LIST).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
