"""Apache Avro's own Java tools read our schemas and records, with the same results as ours."""

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastavro.types import Schema

from schemas.registry import COMMITTED, FileRegistry, RegisteredSchema
from streams.local.jars import cache_folder, fetch_jars, parse_jars
from streams.local.java import find_java
from streams.local.process import StartUp
from streams.schema_registry.export import NAMESPACE
from tests.contract import golden

JARS = parse_jars(Path(__file__).with_name("avro.jars").read_text(encoding="utf-8"))
TOOLS = "org.apache.avro.tool.Main"
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# The main class of the tools refers to Hadoop, which is not on the class path. Unverified, it is never loaded.
WITHOUT_HADOOP = ("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs Avro's tools: downloaded once per user, each file verified by its checksum."""
    folder = fetch_jars(cache_folder(tmp_path_factory.mktemp("jars")), StartUp(print), JARS, what="Avro")
    class_path = ":".join(str(folder / jar.filename) for jar in JARS)
    return [str(find_java().path), *QUICK, *WITHOUT_HADOOP, "-cp", class_path, TOOLS]


@pytest.mark.requirement("Schema evolution", "Apache Avro's own Java tools read the files")
def test_avro_s_own_tools_read_every_version(tools: list[str]) -> None:
    """The committed file and the golden bytes, unchanged: Java reads the values that were written."""
    versions = list(FileRegistry())
    with ThreadPoolExecutor(2) as threads:
        read = threads.map(lambda version: java_reads(tools, version), versions)
        for version, found in zip(versions, read, strict=True):
            kept = golden.samples(version)
            assert kept
            assert found == [as_avro_s_json(version.schema, sample.values) for sample in kept], version.file


@pytest.mark.requirement("Schema evolution", "Apache Avro's own Java tools read the files")
def test_avro_s_own_tools_refuse_what_is_none(tools: list[str]) -> None:
    """Otherwise the test above would prove nothing."""
    version = next(iter(FileRegistry()))
    done = subprocess.run(
        [*tools, "fragtojson", (COMMITTED / version.file).read_text(encoding="utf-8"), "-"],
        input=golden.samples(version)[0].data[:-4],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert b"EOFException" in done.stderr


def java_reads(tools: Sequence[str], version: RegisteredSchema) -> list[object]:
    """The values that Java reads in the golden bytes of a version, one after the other."""
    schema = (COMMITTED / version.file).read_text(encoding="utf-8")
    done = subprocess.run(
        [*tools, "fragtojson", "--no-pretty", schema, "-"],
        input=b"".join(sample.data for sample in golden.samples(version)),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


def as_avro_s_json(kind: Schema, value: object) -> object:
    """A value in Avro's JSON encoding, which names a union's branch."""
    match kind:
        case list():
            if value is None:
                return None
            (branch,) = [one for one in kind if one != "null"]
            return {_branch_name(branch): as_avro_s_json(branch, value)}
        case {"type": "record", "fields": list(fields)}:
            assert isinstance(value, dict)
            return {one["name"]: as_avro_s_json(one["type"], value[one["name"]]) for one in fields}
        case {"type": "array", "items": items}:
            assert isinstance(value, list)
            return [as_avro_s_json(items, one) for one in value]
        case {"type": "map", "values": values}:
            assert isinstance(value, dict)
            return {name: as_avro_s_json(values, one) for name, one in value.items()}
    return value


def _branch_name(branch: object) -> str:
    """Its type, or its full name if it has one."""
    if not isinstance(branch, dict):
        return str(branch)
    return f"{branch.get('namespace', NAMESPACE)}.{branch['name']}" if "name" in branch else str(branch["type"])
