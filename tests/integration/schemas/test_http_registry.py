"""A schema registry over HTTP: the client's requests, its cache, and its errors when the registry does not answer."""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas import DocumentDeleted, Event
from schemas.registry import FileRegistry, RegistryError, RegistryUnavailableError
from streams.codec import Codec, DecodeError, SchemaMissingError, build_codec
from streams.publishing import AsyncEventProducer, EventProducer, PublishError
from streams.schema_registry import confluent
from streams.schema_registry.clients import open_http_registry
from streams.schema_registry.confluent import MAX_UNKNOWN_ANSWERS, HttpRegistry, IncompatibleSchemaError
from streams.schema_registry.export import export
from streams.schema_registry.register import register
from streams.settings import Settings
from streams.topics import BUILT_IN, Catalogue, Topic
from tests.support.certificates import make_certificates
from tests.support.cli import Commands
from tests.support.fakes.registry_server import RegistryServer, running_registry

SUBJECT = "document.deleted-value"
FIELDS = frozenset(DocumentDeleted.model_fields)


class WiderDeleted(DocumentDeleted):
    """`DocumentDeleted` of a later release."""

    batch: str | None = None


WiderDeleted.__name__ = "DocumentDeleted"


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with running_registry() as running:
        yield running


def settings_of(server: RegistryServer, **more: object) -> Settings:
    quick = {"schema_registry_connect_timeout": 1.0, "schema_registry_request_timeout": 0.5}
    return Settings.model_validate({"schema_registry_url": server.url, **quick, **more})


def catalogue_of(event: type[Event] = DocumentDeleted) -> Catalogue:
    return Catalogue([Topic("document.deleted", event, key="document_id", pool="low")], Settings())


def deleted(**more: object) -> DocumentDeleted:
    return DocumentDeleted.model_validate({"document_id": "d", "dataset_id": "s", "doc_form": "f", **more})


def registered(server: RegistryServer, event: type[Event] = DocumentDeleted, /, **more: object) -> Codec:
    """The codec of a process whose schemas are registered."""
    settings = settings_of(server, **more)
    assert list(register(catalogue_of(event), open_http_registry(settings)))
    return build_codec(settings, catalogue_of(event))


@pytest.fixture
def commands(server: RegistryServer) -> Commands:
    """The `streams` command with this registry, in this process."""
    return Commands({"STREAMS_SCHEMA_REGISTRY_URL": server.url})


@pytest.mark.requirement("Schema evolution", "`streams schemas register`")
def test_register_is_repeatable_and_tells_the_registry_s_ids(server: RegistryServer, commands: Commands) -> None:
    """As an operator runs it: one row per version, the level set, the same result the second time."""
    planned = commands.json("schemas", "register", "--dry-run")
    assert server.requests == []
    told = commands.json("schemas", "register")
    assert isinstance(told, list)
    assert isinstance(planned, list)
    assert planned == [{**row, "id": None} for row in told]
    assert {row["subject"] for row in told} == {f"{topic.name}-value" for topic in BUILT_IN}
    assert {row["id"] for row in told} == set(server.contents)
    assert set(server.levels.values()) == {"FULL_TRANSITIVE"}
    before = dict(server.contents)
    assert commands.json("schemas", "register") == told
    assert server.contents == before


@pytest.mark.requirement("Schema evolution", "`streams schemas register`")
def test_what_the_registry_refuses_is_one_line(server: RegistryServer, commands: Commands) -> None:
    """Somebody registered an incompatible schema under our subject: the registry's reason, exit code 1."""
    foreign = {"type": "record", "name": "DocumentDeleted", "fields": [{"name": "document_id", "type": "long"}]}
    server.answer("POST", f"/subjects/{SUBJECT}/versions", None, {"schema": json.dumps(foreign)})
    done = commands.run("schemas", "register")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "rejects the schema: Schema being registered is incompatible with an earlier schema" in line
    assert SUBJECT in line
    with pytest.raises(IncompatibleSchemaError):
        list(register(catalogue_of(), open_http_registry(settings_of(server))))

    done = commands.run("schemas", "register", STREAMS_SCHEMA_REGISTRY_URL="file:")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "streams schemas export" in done.stderr


@pytest.mark.requirement("Schema evolution", "the codec works with a Confluent-compatible registry over HTTP, cached")
def test_an_event_goes_there_and_back_and_each_thing_is_asked_once(server: RegistryServer) -> None:
    """Its id is looked up by its content. A consumer requests the schema of an id once, for any number of records."""
    codec = registered(server)
    server.requests.clear()
    events = [deleted(document_id=str(number)) for number in range(50)]
    values = [codec.encode(event).value for event in events]
    assert values[0][:5] == b"\x00\x00\x00\x00" + bytes([*server.contents])
    assert [codec.decode("document.deleted", value) for value in values] == events
    assert server.requests == [f"POST /subjects/{SUBJECT}"]

    server.requests.clear()
    consumer = build_codec(settings_of(server), catalogue_of())
    assert [consumer.decode("document.deleted", value) for value in values] == events
    assert server.requests == [f"GET /schemas/ids/{next(iter(server.contents))}"]


@pytest.mark.requirement("Schema evolution", "unknown ids are fetched once")
def test_many_threads_ask_once(server: RegistryServer) -> None:
    value = registered(server).encode(deleted()).value
    consumer = build_codec(settings_of(server), catalogue_of())
    server.requests.clear()
    with ThreadPoolExecutor(16) as threads:
        decoded = list(threads.map(lambda _: consumer.decode("document.deleted", value), range(64)))
    assert len(decoded) == 64
    assert len(server.requests) == 1


@pytest.mark.requirement("Schema evolution", "the codec works with a Confluent-compatible registry over HTTP, cached")
def test_releases_live_beside_each_other(server: RegistryServer, tmp_path: Path) -> None:
    """A producer of the previous release keeps its own version, and each release reads the other's records."""
    old = registered(server)
    export(catalogue_of(WiderDeleted), tmp_path)
    new = registered(server, WiderDeleted, schema_files=tmp_path)
    old_again = build_codec(settings_of(server), catalogue_of())
    first, second = server.subjects[SUBJECT]

    of_old, of_new = deleted(), WiderDeleted(document_id="d", dataset_id="s", doc_form="f", batch="b")
    for codec in (old, old_again):
        assert int.from_bytes(codec.encode(of_old).value[1:5], "big") == first
    assert int.from_bytes(new.encode(of_new).value[1:5], "big") == second

    read = new.decode("document.deleted", old.encode(of_old).value)
    assert read.model_dump() == {**of_old.model_dump(), "batch": None}
    read = old_again.decode("document.deleted", new.encode(of_new).value)
    assert read.model_dump() == of_new.model_dump(exclude={"batch"})


@pytest.mark.requirement("Schema evolution", "unknown ids are fetched once")
def test_an_unknown_id_is_asked_for_once_in_a_while(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then its records become dead letters with this reason. Once it is registered, a replay succeeds."""
    monkeypatch.setattr(confluent, "UNKNOWN_SECONDS", 0.5)
    with running_registry() as elsewhere:
        elsewhere.contents[777] = "taken"
        value = b"\x00" + (101).to_bytes(4, "big") + registered(elsewhere).encode(deleted()).value[5:]
    consumer = build_codec(settings_of(server), catalogue_of())
    for _ in range(5):
        with pytest.raises(DecodeError) as unknown:
            consumer.decode("document.deleted", value)
        assert unknown.value.reason == "unknown-schema"
    assert server.requests == ["GET /schemas/ids/101"]

    registered(server)
    assert 101 in server.contents
    time.sleep(0.5)  # the time limit itself
    assert consumer.decode("document.deleted", value).tenant_id is None
    assert server.count("GET /schemas/ids/101") == 2


def test_a_schema_of_something_else_is_refused(server: RegistryServer) -> None:
    """By the record's name. A schema that is not an Avro record, such as Protobuf, is handled the same way."""
    server.contents[7] = json.dumps({"type": "record", "name": "Other", "fields": []})
    server.contents[8] = 'syntax = "proto3";'
    server.contents[9] = json.dumps({"type": "record", "name": "DocumentDeleted", "fields": [{"name": 1}]})
    consumer = build_codec(settings_of(server), catalogue_of())
    server.contents[10] = "[" * 100_000
    for schema_id in (7, 8, 9, 10):
        with pytest.raises(DecodeError) as refused:
            consumer.decode("document.deleted", b"\x00" + schema_id.to_bytes(4, "big") + b"xyz")
        assert refused.value.reason == "validation"


def test_an_id_that_no_registry_can_have_is_not_asked_for(server: RegistryServer) -> None:
    """A Java registry answers as for a wrong address, which would look like an unavailable registry."""
    with pytest.raises(DecodeError) as unknown:
        build_codec(settings_of(server), catalogue_of()).decode("document.deleted", b"\x00\xff\xff\xff\xffxyz")
    assert unknown.value.reason == "unknown-schema"
    assert server.requests == []


@pytest.mark.requirement("Faults of others", "L11: a flood of unknown schema ids sends a bounded number of requests")
def test_a_flood_of_unknown_ids_sends_a_bounded_number_of_requests(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids that are known already are read on; after a while, new ones are requested again."""
    registered(server)
    consumer = build_codec(settings_of(server), catalogue_of())
    known = min(server.contents)
    consumer.writer_schemas.fields(b"\x00" + known.to_bytes(4, "big"))
    for schema_id in range(1_000, 1_000 + 3 * MAX_UNKNOWN_ANSWERS):
        with pytest.raises(DecodeError) as unknown:
            consumer.decode("document.deleted", b"\x00" + schema_id.to_bytes(4, "big") + b"xyz")
        assert unknown.value.reason == "unknown-schema"
    assert len([one for one in server.requests if one.startswith("GET /schemas/ids/1")]) <= MAX_UNKNOWN_ANSWERS + 1
    before = len(server.requests)
    monkeypatch.setattr(confluent, "UNKNOWN_SECONDS", 0.0)
    with pytest.raises(DecodeError):
        consumer.decode("document.deleted", b"\x00" + (9_999).to_bytes(4, "big") + b"xyz")
    assert len(server.requests) == before + 1


def test_without_its_extra_it_says_what_to_install(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka.schema_registry", None)
    with pytest.raises(RegistryError, match="needs the extra `registry`"):
        build_codec(settings_of(server), catalogue_of())


def test_what_is_not_registered_cannot_be_written(server: RegistryServer) -> None:
    """The line names the command that helps."""
    codec = build_codec(settings_of(server), catalogue_of())
    with pytest.raises(SchemaMissingError, match="run `streams schemas register`"):
        codec.encode(deleted())
    with pytest.raises(SchemaMissingError, match="run `streams schemas export`"):
        build_codec(settings_of(server), catalogue_of(WiderDeleted)).encode(
            WiderDeleted(document_id="d", dataset_id="s", doc_form="f")
        )


@pytest.mark.requirement(
    "Schema evolution",
    "down or silent later: known ids go on, the rest waits, nothing is buried",
)
def test_a_registry_that_goes_away_stops_only_what_is_new(server: RegistryServer) -> None:
    """Cached schemas work for ever. A new one fails within the time-out, and works when the registry is back."""
    codec = registered(server)
    value = codec.encode(deleted()).value
    fresh = build_codec(settings_of(server), catalogue_of())
    server.stop()
    assert codec.decode("document.deleted", codec.encode(deleted()).value)
    began = time.monotonic()
    for attempt in (lambda: fresh.encode(deleted()), lambda: fresh.decode("document.deleted", value)):
        with pytest.raises(RegistryUnavailableError, match=r"does not answer: ConnectError"):
            attempt()
    assert time.monotonic() - began < 5
    server.start()
    assert fresh.decode("document.deleted", fresh.encode(deleted()).value)


@pytest.mark.requirement(
    "Schema evolution",
    "down or silent later: known ids go on, the rest waits, nothing is buried",
)
@pytest.mark.parametrize("status", [429, 500, 503, 404])
def test_an_answer_that_is_none_says_nothing_of_a_schema(server: RegistryServer, status: int) -> None:
    """A proxy's 404 differs from the registry's, which has an error code. No record may be dead-lettered for it."""
    value = registered(server).encode(deleted()).value
    server.failing = status
    with pytest.raises(RegistryUnavailableError, match=f"answers {status}"):
        build_codec(settings_of(server), catalogue_of()).decode("document.deleted", value)


@pytest.mark.requirement(
    "Schema evolution",
    "down or silent later: known ids go on, the rest waits, nothing is buried",
)
def test_a_registry_that_is_silent_is_given_up(server: RegistryServer) -> None:
    """At most twice the time-out: the client retries once, for a connection that was closed while idle."""
    server.silent = threading.Event()
    began = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="does not answer: ReadTimeout"):
        build_codec(settings_of(server), catalogue_of()).encode(deleted())
    assert 0.4 < time.monotonic() - began < 4
    server.silent.set()


@pytest.mark.requirement("Schema evolution", "a registry that is down at start")
def test_a_producer_is_told_in_one_line(server: RegistryServer) -> None:
    """Nothing is sent, and nothing is lost: the sender gets the error."""
    server.stop()
    settings = settings_of(server, kafka_bootstrap_servers="127.0.0.1:1")
    with (
        EventProducer(settings, build_codec(settings, catalogue_of()), timeout=1) as producer,
        pytest.raises(PublishError, match=r"schema registry http://127.0.0.1:.* does not answer"),
    ):
        producer.publish(deleted())


@pytest.mark.requirement("Schema evolution", "it holds no event loop")
async def test_an_event_loop_s_producer_asks_in_a_thread(server: RegistryServer) -> None:
    """The first event of a class waits a second for the registry. The event loop does not."""
    server.silent = threading.Event()
    settings = settings_of(server, kafka_bootstrap_servers="127.0.0.1:1")
    async with AsyncEventProducer(settings, build_codec(settings, catalogue_of()), timeout=1) as producer:
        asking = asyncio.create_task(producer.publish(deleted()))
        latest, turns = 0.0, 0
        while not asking.done():
            began = time.monotonic()
            await asyncio.sleep(0.01)
            latest, turns = max(latest, time.monotonic() - began), turns + 1
        assert isinstance(asking.exception(), PublishError)
    assert turns > 10
    assert latest < 0.9


@pytest.mark.requirement("Schema evolution", "basic authentication, TLS")
def test_a_password_belongs_into_its_setting() -> None:
    """A password in a URL would be in every message and log line."""
    with pytest.raises(ValidationError, match="user name or password in this URL would be shown"):
        Settings(schema_registry_url="https://me:secret@registry:8081")


@pytest.mark.requirement("Schema evolution", "basic authentication, TLS")
def test_a_password_and_certificates(tmp_path: Path) -> None:
    """Basic authentication over mutual TLS. Without either, a line says what to check."""
    certificates = make_certificates(tmp_path)
    tls: dict[str, object] = {
        "schema_registry_ca_location": certificates.authority,
        "schema_registry_certificate_location": certificates.client,
        "schema_registry_key_location": certificates.client_key,
    }
    with running_registry(certificates=certificates, user="worker", password="se:cret") as server:
        codec = registered(server, schema_registry_username="worker", schema_registry_password="se:cret", **tls)
        assert codec.decode("document.deleted", codec.encode(deleted()).value)

        for more, told in (
            ({**tls, "schema_registry_username": "worker", "schema_registry_password": "wrong"}, "answers 401"),
            (tls, "STREAMS_SCHEMA_REGISTRY_PASSWORD"),
            ({}, "CERTIFICATE_VERIFY_FAILED"),
        ):
            with pytest.raises(RegistryUnavailableError, match=told):
                build_codec(settings_of(server, **more), catalogue_of()).encode(deleted())
    with pytest.raises(RegistryError, match="settings cannot be used"):
        build_codec(settings_of(server, schema_registry_ca_location=tmp_path / "none.pem"), catalogue_of())


@pytest.mark.requirement("Schema evolution", "the codec works with a Confluent-compatible registry over HTTP, cached")
def test_another_address_takes_over(server: RegistryServer) -> None:
    """Several URLs, separated by commas: the next one is used if one does not answer."""
    both = Settings(schema_registry_url=f"http://127.0.0.1:1,{server.url}")
    registered(server)
    codec = build_codec(both, catalogue_of())
    assert codec.decode("document.deleted", codec.encode(deleted()).value)


def test_its_files_are_what_the_classes_stand_for(server: RegistryServer) -> None:
    """The registry only assigns ids. A missing folder is named."""
    assert HttpRegistry(settings_of(server), FileRegistry()).own(SUBJECT, FIELDS) is None
    with pytest.raises(RegistryError, match=r"registry\.json: No such file"):
        build_codec(settings_of(server, schema_files=Path("nowhere")), catalogue_of())
